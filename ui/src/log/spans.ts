/** A text with looks: runs of one style, each up to its `end`, together the whole text. */

import { PLAIN, type Style } from "./ansi.ts";

export interface Span {
  /** Where the run ends in the text; it begins where the one before ends. */
  readonly end: number;
  readonly style: Style;
}

/** A text in runs; `spans` is empty when all of it is plain. */
export interface StyledText {
  text: string;
  spans: readonly Span[];
}

/** Writes `added` over the text from `at` on, as a terminal does. `at` is within the text. */
export function overwrite(line: StyledText, at: number, added: string, style: Style): void {
  const covered = Math.min(line.text.length, at + added.length);
  const length = line.text.length;
  line.text = line.text.slice(0, at) + added + line.text.slice(covered);
  if (line.spans.length === 0 && style === PLAIN) return;
  const runs: Span[] = [];
  const before = line.spans.length === 0 ? [{ end: length, style: PLAIN }] : line.spans;
  for (const run of before) {
    if (run.end > at) break;
    add(runs, run.end, run.style);
  }
  add(runs, at, styleAt(before, at - 1));
  add(runs, at + added.length, style);
  for (const run of before) if (run.end > covered) add(runs, run.end, run.style);
  // What was written past the old end has made the text longer; the runs behind it are gone.
  line.spans = runs;
}

/** Cuts the text off at `at`. */
export function cut(line: StyledText, at: number): void {
  line.text = line.text.slice(0, at);
  const runs: Span[] = [];
  for (const run of line.spans) add(runs, Math.min(run.end, at), run.style);
  line.spans = runs;
}

/** Joins pieces to one text. */
export function join(pieces: readonly (readonly [text: string, style: Style])[]): StyledText {
  const line: StyledText = { text: "", spans: [] };
  for (const [text, style] of pieces) overwrite(line, line.text.length, text, style);
  return line;
}

function add(runs: Span[], end: number, style: Style): void {
  const last = runs.at(-1);
  if (end <= (last?.end ?? 0)) return;
  if (last && last.style === style) runs[runs.length - 1] = { end, style };
  else runs.push({ end, style });
}

function styleAt(runs: readonly Span[], at: number): Style {
  return runs.find((run) => run.end > at)?.style ?? PLAIN;
}
