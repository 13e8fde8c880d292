import { describe, expect, it } from "vitest";
import { GAPS_MAX, Gaps } from "../src/log/gaps.ts";

describe("the gaps of a log", () => {
  it("are whole again whatever pieces they are told in", () => {
    const gaps = new Gaps();
    gaps.add(10, 19);
    gaps.add(30, 39);
    expect([gaps.at(9), gaps.at(19), gaps.at(25)]).toEqual([
      undefined,
      { from: 10, to: 19 },
      undefined,
    ]);
    expect(gaps.countOthers(1, 100)).toBe(80);
    expect(gaps.add(20, 29)).toEqual({ from: 10, to: 39 });
    expect(gaps.add(15, 16)).toEqual({ from: 10, to: 39 });
    expect(gaps.countOthers(15, 50)).toBe(11);
  });

  it("are bounded in number", () => {
    const gaps = new Gaps();
    for (let at = 0; at < 2 * GAPS_MAX; at += 1) gaps.add(3 * at + 1, 3 * at + 1);
    expect(gaps.countOthers(1, 6 * GAPS_MAX)).toBe(5 * GAPS_MAX);
  });
});
