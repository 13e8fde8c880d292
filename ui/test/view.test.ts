import { expect, it } from "vitest";
import { offsetOf, pathOfRun, routeOf } from "../src/view/route.ts";
import { clock, duration, moment, stopwatch } from "../src/view/time.ts";

it("durations are short and exact enough", () => {
  const cases: [number, string][] = [
    [0, "0 ms"],
    [812.4, "812 ms"],
    [4_210, "4.2 s"],
    [59_949, "59.9 s"],
    [59_960, "1 m 00 s"],
    [187_000, "3 m 07 s"],
    [7_500_000, "2 h 05 m"],
    [273_600_000, "3 d 04 h"],
    [-5, "0 ms"],
    [Number.NaN, "0 ms"],
  ];
  for (const [ms, text] of cases) expect(duration(ms)).toBe(text);
  expect(stopwatch(59_999)).toBe("59 s");
});

it("times have milliseconds, and what is no time says so", () => {
  expect(clock("2026-11-20T21:16:09.007123Z").join("")).toMatch(/^\d\d:16:09\.007$/);
  expect(clock("yesterday")).toEqual(["", "--:--.---"]);
  const now = Date.parse("2026-11-20T12:00:00");
  expect(moment("2026-11-20T11:00:05", now)).toBe("11:00:05");
  expect(moment("2026-10-02T11:00:05", now)).toContain("2 Oct");
});

it("an address names a run and an event, or the list", () => {
  expect(routeOf("/")).toEqual({ page: "runs" });
  expect(routeOf("/inbox")).toEqual({ page: "inbox" });
  expect(routeOf(pathOfRun("a:b~c"))).toEqual({ page: "run", id: "a:b~c" });
  expect(routeOf("/runs/%E0%A4%A")).toEqual({ page: "run", id: "%E0%A4%A" });
  expect(offsetOf("#1234")).toBe(1_234);
  for (const hash of ["", "#", "#0", "#x", "#-1", "#99999999999999999"]) {
    expect(offsetOf(hash)).toBeUndefined();
  }
});
