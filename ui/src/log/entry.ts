/**
 * Entries: what a person reads as one thing. One event is one entry, but for text: fragments of one
 * printed line, and the deltas of one message, are one entry together, and a fragment of many lines
 * is many entries.
 *
 * Keeps of each event only what its entry shows, bounded; the whole event is asked for again when a
 * person opens it.
 */

import { firstOffset, type RunEvent } from "@runcast/core";
import { PLAIN } from "./ansi.ts";
import { describe, type Kind, type Tone } from "./describe.ts";
import { foldAscii } from "./match.ts";
import { cut, overwrite, type StyledText } from "./spans.ts";
import { manyLines, Terminal } from "./terminal.ts";
import { type Lines, wrap } from "./wrap.ts";

export interface Entry extends StyledText {
  /** Unique among the entries of its offset. */
  readonly key: string;
  /** The first event that is in it. */
  readonly offset: number;
  /** The last event that is in it. */
  last: number;
  readonly time: string;
  readonly kind: Kind;
  readonly tone: Tone;
  readonly variation: string | undefined;
  /** Counts changes, so that a row knows when to be drawn again. */
  revision: number;
  wrapped: { columns: number; lines: Lines } | undefined;
}

/** More of one event's text is not shown in its rows. */
export const EVENT_CHARS_MAX = 64 * 1024;
/** A message goes on in another entry behind this. */
const MESSAGE_CHARS_MAX = 16 * 1024;
/** A fragment is added to its line over so many later entries; further off it opens a new row. */
const REACH_ENTRIES_MAX = 32;
/** So many streams and messages are remembered at once. */
const OPEN_MAX = 64;
/** A longer name of a variation is cut. */
export const CHIP_CHARS_MAX = 10;
/** Narrower is not readable. */
const COLUMNS_MIN = 16;
/** What an entry costs beside its text, roughly, in characters. */
const ENTRY_CHARS = 200;

/** The lines of an entry, each where it begins. */
export function linesOf(entry: Entry, columns: number): Lines {
  if (entry.wrapped?.columns !== columns) {
    const room = Math.max(COLUMNS_MIN, columns - chipColumns(entry));
    entry.wrapped = { columns, lines: wrap(entry.text.replace(/\n+$/, ""), room) };
  }
  return entry.wrapped.lines;
}

/** How many columns the name of the entry's variation takes in front of its text. */
export function chipColumns(entry: Entry): number {
  return entry.variation === undefined ? 0 : Math.min(entry.variation.length, CHIP_CHARS_MAX) + 2;
}

/** Makes entries of the events of one page, in order. */
export class EntryBuilder {
  readonly entries: Entry[] = [];
  /** Roughly what the entries hold, in characters. */
  chars = 0;
  readonly #streams = new Map<string, Terminal<Entry>>();
  readonly #messages = new Map<string, Entry>();
  readonly #tools = new Map<string, string>();
  readonly #places = new WeakMap<Entry, number>();
  #count = 0;

  add(event: RunEvent): void {
    this.#count = 0;
    if (event.type === "output") this.#output(event);
    else if (event.type === "message.delta" || event.type === "tool.args") this.#delta(event);
    else {
      const { kind, tone, pieces } = describe(event, this.#tools);
      const entry = this.#open(event, kind, tone);
      for (const [text, style] of pieces) overwrite(entry, entry.text.length, text, style);
      this.chars += entry.text.length;
    }
  }

  /** Adds a row that is no event's: what happened to the history before the event at `offset`. */
  note(offset: number, time: string, text: string, tone: Tone): Entry {
    this.#count = this.entries.length;
    const entry = this.#open({ offset, type: "note", time }, "note", tone);
    overwrite(entry, 0, text, PLAIN);
    return entry;
  }

  /** Gives a row another text. */
  rewrite(entry: Entry, text: string): void {
    if (entry.text === text) return;
    cut(entry, 0);
    overwrite(entry, 0, text, PLAIN);
    this.#touch(entry);
  }

  /** Takes a row away again that was added by `note`. */
  remove(note: Entry): void {
    const at = this.entries.indexOf(note);
    if (at === -1) return;
    this.entries.splice(at, 1);
    for (const [place, entry] of this.entries.entries()) this.#places.set(entry, place);
    this.chars -= ENTRY_CHARS;
  }

  #output(event: RunEvent): void {
    const data = (event.data ?? {}) as { text?: unknown; stream?: unknown };
    const text = typeof data.text === "string" ? data.text : "";
    const stream = typeof data.stream === "string" ? data.stream : "";
    const key = [event.channel, stream, event.variation].join("\n");
    const terminal = this.#streams.get(key) ?? new Terminal<Entry>();
    bound(this.#streams);
    this.#streams.set(key, terminal);
    if (terminal.line && !this.#isInReach(terminal.line)) terminal.breakLine();
    if (terminal.line) terminal.line.last = event.offset;
    const tone = stream === "stderr" ? "stderr" : "plain";
    terminal.print(shorten(text), {
      open: () => this.#open(event, "output", tone),
      changed: (line) => this.#touch(line),
    });
    this.chars += Math.min(text.length, EVENT_CHARS_MAX);
  }

  #delta(event: RunEvent): void {
    const data = (event.data ?? {}) as { message?: unknown; call?: unknown; text?: unknown };
    const text = typeof data.text === "string" ? manyLines(shorten(data.text)) : "";
    const key = [event.type, String(data.message ?? data.call), event.variation].join("\n");
    let entry = this.#messages.get(key);
    const fits = entry && entry.text.length + text.length <= MESSAGE_CHARS_MAX;
    if (!entry || !fits || !this.#isInReach(entry)) {
      const kind = event.type === "tool.args" ? "tool" : "message";
      entry = this.#open(event, kind, kind === "tool" ? "faint" : "plain");
      if (kind === "tool") overwrite(entry, 0, "tool.args  ", { role: "label" });
      bound(this.#messages);
      this.#messages.set(key, entry);
    }
    entry.last = event.offset;
    overwrite(entry, entry.text.length, text, PLAIN);
    this.chars += text.length;
    this.#touch(entry);
  }

  #open(event: RunEvent, kind: Kind, tone: Tone): Entry {
    const entry: Entry = {
      key: `${event.offset}.${this.#count}`,
      offset: firstOffset(event),
      last: event.offset,
      time: event.time,
      kind,
      tone,
      variation: event.variation,
      text: "",
      spans: [],
      revision: 0,
      wrapped: undefined,
    };
    this.#count += 1;
    this.#places.set(entry, this.entries.length);
    this.entries.push(entry);
    this.chars += ENTRY_CHARS;
    return entry;
  }

  #touch(entry: Entry): void {
    entry.revision += 1;
    entry.wrapped = undefined;
  }

  #isInReach(entry: Entry): boolean {
    return this.entries.length - (this.#places.get(entry) ?? 0) <= REACH_ENTRIES_MAX;
  }
}

/** The entries of one event alone, and of those only the ones that have the text, if any has. */
export function matchingEntries(event: RunEvent, needle: string): Entry[] {
  const builder = new EntryBuilder();
  builder.add(event);
  const folded = foldAscii(needle);
  for (const entry of builder.entries) {
    // A piece of a message on its own is one line; its spans would not be true any more.
    if (entry.spans.length === 0) entry.text = entry.text.trim().replace(/\n+/g, " \u21b5 ");
  }
  const found = builder.entries.filter((entry) => foldAscii(entry.text).includes(folded));
  return found.length === 0 ? builder.entries.slice(0, 1) : found;
}

function shorten(text: string): string {
  if (text.length <= EVENT_CHARS_MAX) return text;
  const more = text.length - EVENT_CHARS_MAX;
  return `${text.slice(0, EVENT_CHARS_MAX)}… ${more} more characters: open the event to read them\n`;
}

function bound<Value>(map: Map<string, Value>): void {
  if (map.size < OPEN_MAX) return;
  for (const oldest of map.keys()) {
    map.delete(oldest);
    return;
  }
}
