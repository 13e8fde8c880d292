import type { RunState, Step } from "@runcast/core";
import { expect, it } from "vitest";
import { extentOf, rowsOf } from "../src/work/steps.ts";

const T0 = Date.parse("2026-11-20T10:00:00Z");
const at = (second: number) => new Date(T0 + second * 1_000).toISOString();
const step = (name: string, more: Partial<Step> = {}): Step => ({
  step: name,
  status: "completed",
  attempt: 1,
  ...more,
});
const extent = { from: T0, to: T0 + 100_000 };
const shown = (steps: readonly Step[], folded: readonly string[] = []) =>
  rowsOf(steps, new Set(folded), extent, T0).map((row) => `${" ".repeat(row.depth)}${row.name}`);

it("each step is below its parent, in the order in which they began", () => {
  const steps = [
    step("a"),
    step("b", { parent: "a" }),
    step("c"),
    step("d", { parent: "b" }),
    step("e", { parent: "a" }),
  ];
  expect(shown(steps)).toEqual(["a", " b", "  d", " e", "c"]);
  expect(shown(steps, ['["b"]'])).toEqual(["a", " b", " e", "c"]);
  expect(shown(steps, ['["a"]'])).toEqual(["a", "c"]);
});

it("a parent that nobody knows, and parents in a circle, lose no step", () => {
  expect(shown([step("a", { parent: "nobody" }), step("b", { parent: "b" })])).toEqual(["a", "b"]);
  const circle = [
    step("a", { parent: "c" }),
    step("b", { parent: "a" }),
    step("c", { parent: "b" }),
  ];
  expect(shown(circle).sort()).toEqual(["a", "b", "c"]);
});

it("a thousand steps, each in the one before, are rows too", () => {
  const steps = Array.from({ length: 1_000 }, (_, n) =>
    step(`s${n}`, n ? { parent: `s${n - 1}` } : {}),
  );
  const rows = rowsOf(steps, new Set(), extent, T0);
  expect(rows).toHaveLength(1_000);
  expect(Math.max(...rows.map(({ depth }) => depth))).toBe(8);
});

it("a step of a variation is below its parent in that variation, else in none", () => {
  const steps = [
    step("a", { variation: "x" }),
    step("a", { variation: "y" }),
    step("b", { variation: "y", parent: "a" }),
    step("common"),
    step("c", { variation: "x", parent: "common" }),
  ];
  const rows = rowsOf(steps, new Set(), extent, T0);
  expect(rows.map(({ step, variation, depth }) => [step, variation, depth])).toEqual([
    ["a", "x", 0],
    ["a", "y", 0],
    ["b", "y", 1],
    ["common", undefined, 0],
    ["c", "x", 1],
  ]);
});

it("bars are where the attempts were in time, and never outside", () => {
  const bars = (more: Partial<Step>, now = T0 + 50_000) =>
    rowsOf([step("s", more)], new Set(), extent, now)[0]?.bars.map(({ from, to }) => [
      Math.round(from * 1_000) / 10,
      Math.round(to * 1_000) / 10,
    ]);
  const earlier = { attempt: 1, status: "failed", started_at: at(5), ended_at: at(10) } as const;
  expect(bars({ started_at: at(20), ended_at: at(40), earlier_attempts: [earlier] })).toEqual([
    [5, 10],
    [20, 40],
  ]);
  expect(bars({ started_at: at(20), status: "running" })).toEqual([[20, 50]]);
  expect(bars({ started_at: at(-20), ended_at: at(900) })).toEqual([[0, 99.4]]);
  expect(bars({ started_at: at(30), ended_at: at(20) })).toEqual([[30, 30.6]]);
  expect(bars({ started_at: "yesterday" })).toEqual([]);
  expect(bars({})).toEqual([]);
});

it("the time line of a run at work ends ahead, and stays for a while", () => {
  const run = { started_at: at(0), created_at: at(0), ended_at: null, steps: [] as Step[] };
  const ends = [60, 61, 62].map((s) => extentOf(run as unknown as RunState, T0 + s * 1_000).to);
  expect(new Set(ends).size).toBe(1);
  expect(ends[0]).toBeGreaterThan(T0 + 62_000);
  const ended = { ...run, ended_at: at(90), steps: [step("s", { started_at: at(-5) })] };
  expect(extentOf(ended as unknown as RunState, T0)).toEqual({ from: T0 - 5_000, to: T0 + 90_000 });
});

it("a row says how far a step is, or why it failed, in one line without control characters", () => {
  const note = (more: Partial<Step>) => rowsOf([step("s", more)], new Set(), extent, T0)[0];
  const progress = { current: 3, total: 4, message: "page 3" };
  expect(note({ status: "running", progress })).toMatchObject({
    note: "3/4 · page 3",
    fraction: 0.75,
  });
  expect(note({ status: "failed", error: { message: "a\nb\x00\u202ec" } })?.note).toMatch(
    /^a↵b.+c$/,
  );
  expect(note({ status: "failed", error: { message: "a\x00\u202e" } })?.note).not.toMatch(
    /[\x00\u202e]/,
  );
  expect(note({ name: "x".repeat(1_000) })?.name).toHaveLength(301);
  expect(note({ status: "completed", progress })).toMatchObject({ note: "", fraction: undefined });
});
