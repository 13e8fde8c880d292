/**
 * Finds a text in events and rows as the server does (`contains=`): in the type and in the string
 * values of the data, ignoring the case of ASCII letters.
 */

import type { RunEvent } from "@runcast/core";

/** Deeper data is not looked into; the server stores none. */
const DEPTH_MAX = 64;

export function matches(event: RunEvent, needle: string): boolean {
  const folded = foldAscii(needle);
  return foldAscii(event.type).includes(folded) || inValue(event.data, folded, DEPTH_MAX);
}

function inValue(value: unknown, folded: string, depth: number): boolean {
  if (typeof value === "string") return foldAscii(value).includes(folded);
  if (typeof value !== "object" || value === null || depth === 0) return false;
  return Object.values(value).some((part) => inValue(part, folded, depth - 1));
}

/** Where the needle is in a text: pairs of begin and end, not overlapping. */
export function places(text: string, needle: string): [number, number][] {
  if (needle === "") return [];
  const found: [number, number][] = [];
  const [haystack, folded] = [foldAscii(text), foldAscii(needle)];
  for (let at = haystack.indexOf(folded); at !== -1; ) {
    found.push([at, at + folded.length]);
    at = haystack.indexOf(folded, at + folded.length);
  }
  return found;
}

/** Lower case for ASCII only; the length stays, so that places stay true. */
export function foldAscii(text: string): string {
  return text.replace(/[A-Z]+/g, (capitals) => capitals.toLowerCase());
}
