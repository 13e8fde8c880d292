/**
 * The looks of terminal text: what SGR escape sequences (`ESC [ … m`) make of a style.
 *
 * Colours 0 to 15 stay numbers, so that the style sheet can choose them for light and dark; the
 * others are what the sequence says.
 */

/** 0 to 15 of the palette, or `#rrggbb`. */
export type Colour = number | string;

export interface Style {
  readonly fg?: Colour;
  readonly bg?: Colour;
  readonly bold?: true;
  readonly dim?: true;
  readonly italic?: true;
  readonly underline?: true;
  readonly strike?: true;
  readonly inverse?: true;
  /** A look of our own, such as an event's label; never from an escape sequence. */
  readonly role?: "label" | "name" | "faint" | "good" | "bad" | "warn" | "info" | "debug";
}

/** No look at all. */
export const PLAIN: Style = Object.freeze({});

/** The style after `ESC [ <parameters> m`. */
export function applySgr(style: Style, parameters: string): Style {
  // A colon separates the parts of one colour; read like a semicolon it means the same here, but
  // for the empty colour space in 38:2::r:g:b.
  const numbers = parameters
    .replace(/([34]8:2):[^:;]*:(?=\d*:\d*:\d)/g, "$1:")
    .split(/[;:]/)
    .map((part) => (part === "" ? 0 : Number(part)));
  let next: Record<string, unknown> = { ...style };
  for (let at = 0; at < numbers.length; at += 1) {
    const code = numbers[at] ?? 0;
    if (code === 0) next = {};
    else if (code === 38 || code === 48) {
      const { colour, used } = extendedColour(numbers, at + 1);
      if (colour !== undefined) next[code === 38 ? "fg" : "bg"] = colour;
      at += used;
    } else applyOne(next, code);
  }
  return Object.keys(next).length === 0 ? PLAIN : (next as Style);
}

const ON: Readonly<Record<number, keyof Style>> = {
  1: "bold",
  2: "dim",
  3: "italic",
  4: "underline",
  7: "inverse",
  9: "strike",
};
const OFF: Readonly<Record<number, readonly (keyof Style)[]>> = {
  22: ["bold", "dim"],
  23: ["italic"],
  24: ["underline"],
  27: ["inverse"],
  29: ["strike"],
  39: ["fg"],
  49: ["bg"],
};

function applyOne(style: Record<string, unknown>, code: number): void {
  const on = ON[code];
  if (on) style[on] = true;
  for (const off of OFF[code] ?? []) delete style[off];
  if (code >= 30 && code <= 37) style.fg = code - 30;
  else if (code >= 40 && code <= 47) style.bg = code - 40;
  else if (code >= 90 && code <= 97) style.fg = code - 82;
  else if (code >= 100 && code <= 107) style.bg = code - 92;
}

function extendedColour(numbers: number[], at: number): { colour?: Colour; used: number } {
  if (numbers[at] === 5) {
    const index = numbers[at + 1] ?? -1;
    return index >= 0 && index <= 255 ? { colour: indexed(index), used: 2 } : { used: 2 };
  }
  if (numbers[at] === 2) {
    const rgb = [1, 2, 3].map((part) => Math.min(255, numbers[at + part] ?? 0));
    return { colour: hex(rgb), used: 4 };
  }
  return { used: 1 };
}

/** The 256-colour table: 16 of the palette, a cube of 6 × 6 × 6, 24 greys. */
function indexed(index: number): Colour {
  if (index < 16) return index;
  if (index >= 232) {
    const grey = 8 + (index - 232) * 10;
    return hex([grey, grey, grey]);
  }
  const level = (step: number) => (step === 0 ? 0 : 55 + step * 40);
  const cube = index - 16;
  return hex([Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6].map(level));
}

function hex(rgb: number[]): string {
  return `#${rgb.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}
