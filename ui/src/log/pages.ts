/**
 * The log of a run as pages of events, a bounded number of them loaded.
 *
 * Page `k` has the events `k × 500 + 1` to `k × 500 + 500`, so that any place is one request away.
 * Loaded pages know their height exactly, the others are estimated. Pages that nobody looks at are
 * let go, the longest unseen first; the newest page stays, because live events are added to it.
 *
 * A gap of damaged events is one row, where it begins, over however many pages it goes: the others
 * have nothing of it.
 */

import { firstOffset, isTerminal, type RunEvent } from "@runcast/core";
import { duration } from "../view/time.ts";
import { type Entry, EntryBuilder, linesOf } from "./entry.ts";
import { Gaps, type KnownGap } from "./gaps.ts";
import { LineIndex } from "./line-index.ts";
import { overwrite } from "./spans.ts";

export const PAGE_EVENTS = 500;
/** So many pages are kept loaded. */
export const PAGES_MAX = 24;
/** So much is kept of all loaded pages, in characters; the pages in view are kept above it. */
const PAGES_CHARS_MAX = 16 * 1024 * 1024;
/** So many remarks on the history are kept. */
const NOTES_MAX = 100;

/** Some entries one below the other, with the line at which each begins. */
export interface Block {
  readonly entries: readonly Entry[];
  /** One more number than entries. */
  readonly starts: readonly number[];
}

/** What can be scrolled through. */
export interface Blocks {
  readonly index: LineIndex;
  /** What is added now is the newest there is, and worth to stay at the bottom for. */
  readonly isLive: boolean;
  block(block: number): Block | undefined;
  /** The width has changed. */
  setColumns(columns: number): void;
  /** These blocks are in view or close to it; none of the others is needed now. */
  want(from: number, to: number): void;
  /** Brings the heights of changed blocks up to date; once a frame, not once an event. */
  refresh(): void;
  /** An entry is opened and takes so many more lines, or is closed with 0. */
  open(entry: Entry, lines: number): void;
  /** Which block has an event. */
  blockOf(offset: number): number;
}

class LogPage implements Block {
  readonly builder = new EntryBuilder();
  /** The event that comes next, if this page is to have it. */
  next: number;
  lastSeen = 0;
  /** The rows of the gaps that begin in it, by their first event. */
  readonly gapRows = new Map<number, Entry>();
  starts: number[] = [0];
  isDirty = true;

  constructor(index: number) {
    this.next = index * PAGE_EVENTS + 1;
  }

  get entries(): readonly Entry[] {
    return this.builder.entries;
  }

  /** Takes the row of a gap away, which begins before this page. */
  dropGapRow(from: number): void {
    const row = this.gapRows.get(from);
    if (row) this.builder.remove(row);
    this.gapRows.delete(from);
    this.isDirty = true;
  }
}

export class Pages implements Blocks {
  readonly index = new LineIndex();
  readonly isLive = true;
  /** Called with the pages that are wanted and not loaded. */
  onWant: (missing: readonly number[]) => void = () => {};
  /** When the run began, for the row of its end. */
  startedAt: string | null = null;
  #pages = new Map<number, LogPage>();
  #columns = 80;
  #first = 1;
  #last = 0;
  #tick = 0;
  #wanted: readonly [number, number] = [0, -1];
  #opened = new Map<string, number>();
  #notes = new Map<number, string>();
  readonly #gaps = new Gaps();
  #knownEvents = 0;
  #knownLines = 0;
  /** Pages whose height was measured, and need no estimate any more. */
  #measured = new Set<number>();
  /** The estimate that the heights of the other pages are made of. */
  #usedLinesPerEvent = 1;

  /** The newest event there is. */
  get last(): number {
    return this.#last;
  }

  get first(): number {
    return this.#first;
  }

  get loadedPages(): number {
    return this.#pages.size;
  }

  /** The run has events up to `last`, and keeps those from `first` on. */
  setRange(first: number, last: number): void {
    const before = this.#last;
    this.#last = Math.max(this.#last, last);
    if (first > this.#first) {
      this.#first = first;
      this.#gaps.keep(first, Number.POSITIVE_INFINITY);
      const kept = pageOf(first);
      this.#measured.clear();
      for (const page of this.#pages.keys()) if (page <= kept) this.#pages.delete(page);
      for (let page = 0; page <= kept; page += 1) this.#measure(page);
    }
    if (this.#last === 0) return;
    const from = before === 0 ? pageOf(this.#first) : pageOf(before);
    for (let page = from; page <= pageOf(this.#last); page += 1) this.#measure(page);
  }

  /** Forgets the events from `from` on: their history was lost or replaced. */
  rewind(from: number, note: string): void {
    this.#last = from - 1;
    this.#gaps.keep(1, from - 1);
    for (const page of this.#pages.keys()) if (page >= pageOf(from)) this.#pages.delete(page);
    for (const page of this.#measured) if (page >= pageOf(from)) this.#measured.delete(page);
    this.index.truncate(this.#last === 0 ? 0 : pageOf(this.#last) + 1);
    if (this.#last > 0) this.#measure(pageOf(this.#last));
    if (this.#notes.size < NOTES_MAX) this.#notes.set(from, note);
  }

  /** A live event, or one of a page that was asked for. Passed over if its page cannot take it. */
  add(event: RunEvent): void {
    const at = pageOf(event.offset);
    // What was merged over pages is asked for again by each of them.
    const first = firstOffset(event);
    let page = this.#pages.get(at);
    if (!page && first === this.#nextOf(at)) page = this.#begin(at);
    if (page && first === page.next) {
      this.#put(page, event);
      this.#passGaps(at, page);
    }
    if (event.offset > this.#last) this.#last = event.offset;
    if (page) page.isDirty = true;
    else this.#measure(at);
  }

  /** Events that the server cannot read any more: the log goes on behind them, and says so once. */
  damage(from: number, to: number): void {
    this.#last = Math.max(this.#last, to);
    const gap = this.#gaps.add(from, to);
    for (let at = pageOf(gap.from); at <= pageOf(gap.to); at += 1) {
      const page = this.#pages.get(at);
      if (page) {
        for (const begin of page.gapRows.keys()) {
          if (begin > gap.from && begin <= gap.to) page.dropGapRow(begin);
        }
        this.#passGaps(at, page);
      } else {
        // What it was measured with may be a row that stands before it now.
        this.#measured.delete(at);
      }
      this.#reviveGapRow(at);
      this.#measure(at);
    }
  }

  /** The event that a page needs next, or undefined when it is complete. */
  missing(page: number): number | undefined {
    const next = this.#nextOf(page);
    return next <= this.#endOf(page) ? next : undefined;
  }

  block(block: number): Block | undefined {
    return this.#pages.get(block);
  }

  blockOf(offset: number): number {
    return pageOf(Math.max(1, this.#gaps.at(offset)?.from ?? offset));
  }

  setColumns(columns: number): void {
    if (columns === this.#columns) return;
    this.#columns = columns;
    this.#knownEvents = 0;
    this.#knownLines = 0;
    this.#measured.clear();
    for (const page of this.#pages.values()) page.isDirty = true;
    this.refresh();
    this.#estimateAll();
  }

  open(entry: Entry, lines: number): void {
    if (lines === 0) this.#opened.delete(entry.key);
    else this.#opened.set(entry.key, lines);
    const page = this.#pages.get(pageOf(entry.offset));
    if (page) page.isDirty = true;
  }

  want(from: number, to: number): void {
    this.#wanted = [from, to];
    this.#tick += 1;
    const missing: number[] = [];
    for (let at = from; at <= to; at += 1) {
      this.#reviveGapRow(at);
      const page = this.#pages.get(at);
      if (page) page.lastSeen = this.#tick;
      if (this.missing(at) !== undefined && at < this.index.count) missing.push(at);
    }
    this.onWant(missing);
  }

  refresh(): void {
    for (const [at, page] of this.#pages) {
      if (page.isDirty) this.#measure(at);
    }
    const change = this.#linesPerEvent / this.#usedLinesPerEvent;
    if (change > 1.1 || change < 0.9) this.#estimateAll();
    this.#evict();
  }

  #estimateAll(): void {
    this.#usedLinesPerEvent = this.#linesPerEvent;
    for (let page = 0; page < this.index.count; page += 1) {
      if (!this.#measured.has(page)) this.#measure(page);
    }
  }

  #begin(at: number): LogPage {
    const page = new LogPage(at);
    page.lastSeen = this.#tick;
    page.next = firstOf(at, this.#first);
    this.#pages.set(at, page);
    this.#passGaps(at, page);
    return page;
  }

  /** A page of which all is damaged is never asked for. If the gap begins there, it has a row all the same. */
  #reviveGapRow(at: number): void {
    const first = firstOf(at, this.#first);
    const begins = first <= this.#endOf(at) && this.#gaps.at(first)?.from === first;
    if (begins && !this.#pages.has(at)) this.#begin(at);
  }

  /** Goes on behind the known gap that comes next in a page, with a row for it if it begins there. */
  #passGaps(at: number, page: LogPage): void {
    const gap = this.#gaps.at(page.next - 1) ?? this.#gaps.at(page.next);
    if (!gap) return;
    const row = page.gapRows.get(gap.from);
    if (row) {
      page.builder.rewrite(row, gapText(gap));
      row.last = gap.to;
      page.isDirty = true;
    } else if (gap.from === page.next) {
      // Nobody knows when they were: at the earliest then.
      const before = page.builder.entries.at(-1) ?? this.#pages.get(at - 1)?.entries.at(-1);
      const added = page.builder.note(gap.from, before?.time ?? "", gapText(gap), "warn");
      added.last = gap.to;
      page.gapRows.set(gap.from, added);
    }
    const behind = Math.min(gap.to, lastOf(at)) + 1;
    if (behind <= page.next) return;
    page.next = behind;
    page.isDirty = true;
  }

  /** The event that a page takes next. */
  #nextOf(at: number): number {
    const next = this.#pages.get(at)?.next ?? firstOf(at, this.#first);
    const gap = this.#gaps.at(next);
    return gap ? Math.min(gap.to, lastOf(at)) + 1 : next;
  }

  /** The last event that a page can have. */
  #endOf(at: number): number {
    return Math.min(lastOf(at), this.#last);
  }

  #put(page: LogPage, event: RunEvent): void {
    const first = firstOffset(event);
    const note = this.#notes.get(first);
    if (first === this.#first && this.#first > 1) {
      const text = `Events 1–${this.#first - 1} are no longer kept`;
      page.builder.note(first, event.time, text, "warn");
    }
    if (note !== undefined) page.builder.note(first, event.time, note, "warn");
    page.builder.add(event);
    page.next = event.offset + 1;
    if (isTerminal(event.type) && this.startedAt !== null) {
      const end = page.builder.entries.at(-1);
      const took = Date.parse(event.time) - Date.parse(this.startedAt);
      if (end) overwrite(end, end.text.length, ` · took ${duration(took)}`, { role: "faint" });
    }
  }

  #measure(at: number): void {
    const page = this.#pages.get(at);
    if (!page) {
      if (!this.#measured.has(at)) this.index.set(at, this.#estimate(at));
      return;
    }
    const rest = this.missing(at);
    if (page.isDirty) {
      page.starts = layOut(page.entries, this.#columns, this.#opened);
      page.isDirty = false;
      if (rest === undefined && !this.#measured.has(at)) {
        this.#measured.add(at);
        this.#knownEvents += this.#gaps.countOthers(firstOf(at, this.#first), page.next - 1);
        this.#knownLines += page.starts.at(-1) ?? 0;
      }
    }
    const waiting = rest === undefined ? 0 : this.#gaps.countOthers(rest, this.#endOf(at));
    const lines = page.starts.at(-1) ?? 0;
    this.index.set(at, lines + Math.round(waiting * this.#usedLinesPerEvent));
  }

  get #linesPerEvent(): number {
    return this.#knownEvents === 0 ? 1 : this.#knownLines / this.#knownEvents;
  }

  #estimate(at: number): number {
    const events = this.#gaps.countOthers(firstOf(at, this.#first), this.#endOf(at));
    return events === 0 ? 0 : Math.max(1, Math.round(events * this.#usedLinesPerEvent));
  }

  #evict(): void {
    let chars = 0;
    for (const page of this.#pages.values()) chars += page.builder.chars;
    if (this.#pages.size <= PAGES_MAX && chars <= PAGES_CHARS_MAX) return;
    const oldest = [...this.#pages].sort((a, b) => a[1].lastSeen - b[1].lastSeen);
    for (const [at, page] of oldest) {
      if (this.#pages.size <= PAGES_MAX && chars <= PAGES_CHARS_MAX) return;
      const isWanted = at >= this.#wanted[0] && at <= this.#wanted[1];
      if (isWanted || at === pageOf(this.#last)) continue;
      chars -= page.builder.chars;
      // Its height is known and stays in the index.
      this.#pages.delete(at);
    }
  }
}

/** Where each entry begins, with what is open below it. */
export function layOut(
  entries: readonly Entry[],
  columns: number,
  opened: ReadonlyMap<string, number>,
): number[] {
  const starts = [0];
  let line = 0;
  for (const entry of entries) {
    line += linesOf(entry, columns).length - 1;
    if (opened.size > 0) line += opened.get(entry.key) ?? 0;
    starts.push(line);
  }
  return starts;
}

function gapText({ from, to }: KnownGap): string {
  const events = from === to ? `Event ${from} is` : `Events ${from}–${to} are`;
  return `${events} damaged on the server’s disk and cannot be read`;
}

function pageOf(offset: number): number {
  return Math.floor((offset - 1) / PAGE_EVENTS);
}

function lastOf(page: number): number {
  return (page + 1) * PAGE_EVENTS;
}

function firstOf(page: number, first: number): number {
  return Math.max(page * PAGE_EVENTS + 1, first);
}
