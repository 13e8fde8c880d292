/**
 * The events of a run that a filter lets through: found by the server from the first event on, and
 * from there on in the live ones.
 *
 * Asks for as much as is looked at, and holds a bounded number; says how far it has looked.
 */

import {
  backoffDelay,
  type Client,
  firstOffset,
  formatCursor,
  ProblemError,
  parseCursor,
  type RunEvent,
} from "@runcast/core";
import { type Entry, EntryBuilder, matchingEntries } from "./entry.ts";
import { choiceOf, type LogFilter, lets } from "./filter.ts";
import { LineIndex } from "./line-index.ts";
import { type Block, type Blocks, layOut } from "./pages.ts";

/** So many matches are asked for ahead of what is looked at. */
const AHEAD_EVENTS = 2_000;
/** So many are held at most. */
export const MATCHES_MAX = 20_000;
/** So much is held at most, in characters. */
const MATCHES_CHARS_MAX = 16 * 1024 * 1024;
const REQUEST_EVENTS = 500;
const BLOCK_ENTRIES = 500;
const RETRY = { base_ms: 500, max_ms: 5_000 };

export type SearchState =
  /** Asking the server. */
  | "scanning"
  /** Enough was found for now; scrolling down asks for more. */
  | "paused"
  /** All that there is has been looked at; live events are looked at as they come. */
  | "live"
  /** As many were found as are held. */
  | "full"
  /** The server does not answer, or not now; it is asked again. */
  | "waiting"
  | "refused";

class Found implements Block {
  /** Without a text to find, events are read together as they are in the whole log. */
  readonly builder = new EntryBuilder();
  readonly entries: Entry[] = this.builder.entries;
  starts: number[] = [0];
  isDirty = true;
}

export class Search implements Blocks {
  readonly index = new LineIndex();
  readonly filter: LogFilter;
  state: SearchState = "scanning";
  /** How many events were found. */
  found = 0;
  /** The last event that was looked at. */
  scanned = 0;
  #blocks: Found[] = [];
  #chars = 0;
  #columns = 80;
  #opened = new Map<string, number>();
  #allowed = AHEAD_EVENTS;
  #last = 0;
  #resume: (() => void) | undefined;
  readonly #stop = new AbortController();
  readonly #changed: () => void;

  constructor(filter: LogFilter, changed: () => void) {
    this.filter = filter;
    this.#changed = changed;
  }

  /** The text that is looked for; empty if the filter has none. */
  get needle(): string {
    return this.filter.text;
  }

  get isLive(): boolean {
    return this.state === "live";
  }

  close(): void {
    this.#stop.abort();
    this.#resume?.();
  }

  /** Looks through the run; ends when it is closed or refused. `last` is the newest known event. */
  async run(client: Client, run: string, epoch: number, last: () => number): Promise<void> {
    const { signal } = this.#stop;
    let after = formatCursor({ epoch, offset: 0 });
    let failures = 0;
    while (!signal.aborted) {
      try {
        const contains = this.needle === "" ? {} : { contains: this.needle };
        const choice = choiceOf(this.filter);
        const query = { after, limit: REQUEST_EVENTS, choice, signal, ...contains };
        const page = await client.page(run, query);
        failures = 0;
        for (const event of page.events) this.#add(event);
        after = page.next;
        this.scanned = parseCursor(page.next)?.offset ?? this.scanned;
        this.#last = Math.max(page.last, last());
        await this.#next();
        after = formatCursor({
          epoch: parseCursor(page.next)?.epoch ?? epoch,
          offset: this.scanned,
        });
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ProblemError && !error.isTransient) {
          this.#become("refused");
          return;
        }
        failures += 1;
        this.#become("waiting");
        await this.#pause(backoffDelay(failures, RETRY, 1));
      }
    }
  }

  /** A live event: looked at if all before it were. */
  live(event: RunEvent): void {
    if (event.offset <= this.scanned) return;
    this.#last = Math.max(this.#last, event.offset);
    if (this.state !== "live") return;
    if (firstOffset(event) > this.scanned + 1 || this.#isFull) {
      this.#resume?.();
      return;
    }
    this.scanned = event.offset;
    if (lets(this.filter, event)) this.#add(event);
  }

  block(block: number): Block | undefined {
    return this.#blocks[block];
  }

  blockOf(offset: number): number {
    const next = this.#blocks.findIndex((block) => (block.entries[0]?.offset ?? 0) > offset);
    return Math.max(0, next === -1 ? this.#blocks.length - 1 : next - 1);
  }

  setColumns(columns: number): void {
    if (columns === this.#columns) return;
    this.#columns = columns;
    for (const block of this.#blocks) block.isDirty = true;
    this.refresh();
  }

  open(entry: Entry, lines: number): void {
    if (lines === 0) this.#opened.delete(entry.key);
    else this.#opened.set(entry.key, lines);
    const block = this.#blocks.find((candidate) => candidate.entries.includes(entry));
    if (block) block.isDirty = true;
  }

  want(_from: number, to: number): void {
    if (this.state !== "paused" || to < this.#blocks.length - 1) return;
    this.#allowed = this.found + AHEAD_EVENTS;
    this.#resume?.();
  }

  refresh(): void {
    for (const [at, block] of this.#blocks.entries()) {
      if (!block.isDirty) continue;
      block.starts = layOut(block.entries, this.#columns, this.#opened);
      block.isDirty = false;
      this.index.set(at, block.starts.at(-1) ?? 0);
    }
  }

  get #isFull(): boolean {
    return this.found >= MATCHES_MAX || this.#chars >= MATCHES_CHARS_MAX;
  }

  /** Waits until there is something to ask for. */
  async #next(): Promise<void> {
    if (this.#isFull) {
      this.#become("full");
      await this.#pause();
    } else if (this.scanned >= this.#last) {
      this.#become("live");
      await this.#pause();
    } else if (this.found >= this.#allowed) {
      this.#become("paused");
      await this.#pause();
    }
    if (this.#stop.signal.aborted) return;
    this.#become("scanning");
  }

  #pause(ms?: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = ms === undefined ? undefined : setTimeout(() => this.#resume?.(), ms);
      this.#resume = () => {
        clearTimeout(timer);
        this.#resume = undefined;
        resolve();
      };
    });
  }

  #become(state: SearchState): void {
    this.state = state;
    this.#changed();
  }

  #add(event: RunEvent): void {
    if (this.#isFull) return;
    let block = this.#blocks.at(-1);
    if (!block || block.entries.length >= BLOCK_ENTRIES) {
      block = new Found();
      this.#blocks.push(block);
    }
    if (this.needle === "") {
      const before = block.builder.chars;
      block.builder.add(event);
      this.#chars += block.builder.chars - before;
    } else {
      for (const entry of matchingEntries(event, this.needle)) {
        block.entries.push(entry);
        this.#chars += entry.text.length + 200;
      }
    }
    block.isDirty = true;
    this.found += 1;
    this.#changed();
  }
}
