/** One drawn line of the log. All text is set as text: nothing of an event becomes markup. */

import { Component, type JSX } from "preact";
import { clock } from "../view/time.ts";
import type { Colour, Style } from "./ansi.ts";
import { CHIP_CHARS_MAX, chipColumns, type Entry } from "./entry.ts";
import { places } from "./match.ts";

export interface RowProps {
  readonly entry: Entry;
  /** The entry's revision when this was drawn: the entry itself changes in place. */
  readonly revision: number;
  readonly from: number;
  readonly to: number;
  readonly isFirst: boolean;
  readonly isOpen: boolean;
  readonly isTarget: boolean;
  readonly needle: string;
}

export class Row extends Component<RowProps> {
  override shouldComponentUpdate(next: RowProps): boolean {
    const now = this.props;
    return (Object.keys(next) as (keyof RowProps)[]).some((name) => next[name] !== now[name]);
  }

  override render({ entry, isFirst, isOpen, isTarget, from, to, needle }: RowProps) {
    const [hours, rest] = clock(entry.time);
    const chip = entry.variation;
    const classes = ["row", `kind-${entry.kind}`, `tone-${entry.tone}`];
    if (isOpen) classes.push("is-open");
    if (isTarget) classes.push("is-target");
    return (
      <div class={classes.join(" ")} data-offset={entry.offset}>
        {isFirst ? (
          <button
            type="button"
            class="row-time"
            aria-expanded={isOpen}
            aria-label={`Event ${entry.offset}, ${hours}${rest}`}
          >
            <span class="row-hours">{hours}</span>
            {rest}
          </button>
        ) : (
          <span class="row-time" />
        )}
        {chip !== undefined && (
          <span class="row-chip" style={{ width: `${chipColumns(entry)}ch` }}>
            {isFirst && <bdi>{chip.slice(0, CHIP_CHARS_MAX)}</bdi>}
          </span>
        )}
        <bdi class="row-text">{pieces(entry, from, to, needle)}</bdi>
      </div>
    );
  }
}

/** The text of a line in runs of one look each, with the places that were searched for marked. */
function pieces(entry: Entry, from: number, to: number, needle: string): JSX.Element[] | string {
  const found = places(entry.text, needle);
  if (entry.spans.length === 0 && found.length === 0) return entry.text.slice(from, to);
  const cuts = new Set([from, to]);
  for (const { end } of entry.spans) cuts.add(end);
  for (const [begin, end] of found) cuts.add(begin).add(end);
  const edges = [...cuts].filter((cut) => cut >= from && cut <= to).sort((a, b) => a - b);
  const drawn: JSX.Element[] = [];
  for (let at = 0; at + 1 < edges.length; at += 1) {
    const [begin = 0, end = 0] = [edges[at], edges[at + 1]];
    const style = entry.spans.find((span) => span.end > begin)?.style ?? {};
    const text = entry.text.slice(begin, end);
    const isFound = found.some(([first, last]) => first <= begin && end <= last);
    const looks = { class: classOf(style), style: inlineOf(style) };
    drawn.push(
      isFound ? (
        <mark key={begin} {...looks}>
          {text}
        </mark>
      ) : (
        <span key={begin} {...looks}>
          {text}
        </span>
      ),
    );
  }
  return drawn;
}

const FLAGS = ["bold", "dim", "italic", "underline", "strike"] as const;

function classOf(style: Style): string | undefined {
  const classes: string[] = FLAGS.filter((flag) => style[flag]).map((flag) => `sgr-${flag}`);
  if (style.role) classes.push(`role-${style.role}`);
  const [fg, bg] = colours(style);
  if (typeof fg === "number" || fg === "none") classes.push(`fg-${fg}`);
  if (typeof bg === "number" || bg === "none") classes.push(`bg-${bg}`, "has-bg");
  return classes.length === 0 ? undefined : classes.join(" ");
}

function inlineOf(style: Style): JSX.CSSProperties | undefined {
  const [fg, bg] = colours(style);
  const inline: JSX.CSSProperties = {};
  if (typeof fg === "string" && fg !== "none") inline.color = fg;
  if (typeof bg === "string" && bg !== "none") inline.backgroundColor = bg;
  return inline.color === undefined && inline.backgroundColor === undefined ? undefined : inline;
}

/** The colours as they are shown; "none" is the other one's default, when they are exchanged. */
function colours(style: Style): readonly [Colour | undefined, Colour | undefined] {
  return style.inverse ? [style.bg ?? "none", style.fg ?? "none"] : [style.fg, style.bg];
}
