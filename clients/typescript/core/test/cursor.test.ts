import { expect, it } from "vitest";
import { backoffDelay } from "../src/backoff.ts";
import { formatCursor, parseCursor } from "../src/cursor.ts";
import { parseEvent } from "../src/event.ts";

it("a cursor reads back as it was written", () => {
  for (const text of ["0", "42", "2.42", "9007199254740991"]) {
    const cursor = parseCursor(text);
    expect(cursor && formatCursor(cursor)).toBe(text);
  }
  expect(parseCursor("1.7")).toEqual({ epoch: 1, offset: 7 });
});

it("what is not a cursor is refused", () => {
  for (const text of ["", "-1", "+1", "0.1", "1.", ".1", "1.2.3", "x", "1e3", "9007199254740992"]) {
    expect(parseCursor(text), text).toBeUndefined();
  }
});

it("what is not an event is refused", () => {
  for (const text of [
    "",
    "{",
    "[]",
    "null",
    '{"offset":1}',
    '{"offset":1.5,"type":"a.b","time":""}',
  ]) {
    expect(parseEvent(text), text).toBeUndefined();
  }
});

it("the wait doubles up to its ceiling, and the jitter is full", () => {
  const options = { base_ms: 250, max_ms: 10_000 };
  const ceilings = [1, 2, 3, 6, 7, 1_000].map((attempt) => backoffDelay(attempt, options, 1));
  expect(ceilings).toEqual([250, 500, 1_000, 8_000, 10_000, 10_000]);
  expect(backoffDelay(5, options, 0)).toBe(0);
  expect(backoffDelay(1, options, 0.5)).toBe(125);
});
