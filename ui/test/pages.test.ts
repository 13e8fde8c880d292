import type { RunEvent } from "@runcast/core";
import { describe, expect, it } from "vitest";
import { LineIndex } from "../src/log/line-index.ts";
import { PAGE_EVENTS, PAGES_MAX, Pages } from "../src/log/pages.ts";
import { LINE_PX, RANGE_PX_MAX, Scroll } from "../src/log/scroll.ts";

const event = (offset: number, text = "x\n"): RunEvent => ({
  offset,
  type: "output",
  time: "2026-11-20T21:16:00Z",
  data: { text },
});

function fill(pages: Pages, page: number, text = "x\n"): void {
  for (let at = 1; at <= PAGE_EVENTS; at += 1) pages.add(event(page * PAGE_EVENTS + at, text));
}

/** The rows of gaps on the pages that are loaded, each with its page and how its text begins. */
function gapRows(pages: Pages): [number, number, number, string][] {
  const rows: [number, number, number, string][] = [];
  for (let page = 0; page < pages.index.count; page += 1) {
    for (const { kind, offset, last, text } of pages.block(page)?.entries ?? []) {
      if (kind === "note") rows.push([page, offset, last, text.replace(/ damaged on .*/, "")]);
    }
  }
  return rows;
}

describe("a line index", () => {
  it("finds the block of a line, also when blocks are empty or change", () => {
    const index = new LineIndex();
    for (const [block, lines] of [3, 0, 5, 2].entries()) index.set(block, lines);
    expect(index.total).toBe(10);
    expect(index.find(0)).toEqual({ block: 0, line: 0 });
    expect(index.find(2.5)).toEqual({ block: 0, line: 2.5 });
    expect(index.find(3)).toEqual({ block: 2, line: 0 });
    expect(index.find(99)).toMatchObject({ block: 3 });
    index.set(0, 100);
    expect(index.find(50)).toEqual({ block: 0, line: 50 });
    expect(index.startOf(3)).toBe(105);
    index.truncate(1);
    expect(index.total).toBe(100);
  });

  it("takes a hundred thousand blocks", () => {
    const index = new LineIndex();
    for (let block = 0; block < 100_000; block += 1) index.set(block, 500);
    expect(index.find(25_000_000)).toEqual({ block: 50_000, line: 0 });
  });
});

describe("the pages of a log", () => {
  it("are estimated until they are loaded, and exact then", () => {
    const pages = new Pages();
    pages.setRange(1, 1_000_000);
    expect(pages.index.total).toBe(1_000_000);
    fill(pages, 7, "two\nlines\n");
    pages.refresh();
    expect(pages.index.lines(7)).toBe(1_000);
    expect(pages.missing(7)).toBeUndefined();
    expect(pages.missing(8)).toBe(8 * PAGE_EVENTS + 1);
    // The others are estimated by what is known now.
    expect(pages.index.total).toBe(2_000_000);
  });

  it("take live events at their end, once and in order", () => {
    const pages = new Pages();
    pages.setRange(1, 1_000);
    for (const offset of [501, 502, 502, 501, 503]) pages.add(event(offset));
    expect(pages.block(1)?.entries.map((entry) => entry.offset)).toEqual([501, 502, 503]);
    pages.add(event(505));
    expect(pages.missing(1)).toBe(504);
  });

  it("go on in the next page", () => {
    const pages = new Pages();
    for (let offset = 1; offset <= 1_001; offset += 1) pages.add(event(offset));
    pages.refresh();
    expect(pages.last).toBe(1_001);
    expect(pages.index.count).toBe(3);
    expect(pages.index.total).toBe(1_001);
  });

  it("take what the server has merged, and ask again for what lies over two pages", () => {
    const pages = new Pages();
    pages.setRange(1, 1_000);
    pages.add(event(1));
    pages.add({ ...event(400, "x\n".repeat(399)), merged: 399 });
    pages.add({ ...event(600, "x\n".repeat(200)), merged: 200 });
    expect(pages.missing(0)).toBe(401);
    expect(pages.missing(1)).toBe(501);
    pages.add({ ...event(500, "x\n".repeat(100)), merged: 100 });
    pages.add({ ...event(1_000, "x\n".repeat(500)), merged: 500 });
    pages.refresh();
    expect([pages.missing(0), pages.missing(1)]).toEqual([undefined, undefined]);
    expect(pages.index.total).toBe(1_000);
    expect(pages.block(0)?.entries[1]).toMatchObject({ offset: 2, last: 400 });
  });

  it("are bounded in number, and those in view and the newest stay", () => {
    const pages = new Pages();
    pages.setRange(1, 1_000_000);
    fill(pages, 1_999);
    for (let page = 0; page < 200; page += 1) {
      pages.want(page, page);
      fill(pages, page);
      pages.refresh();
    }
    expect(pages.loadedPages).toBe(PAGES_MAX);
    expect(pages.block(1_999)).toBeDefined();
    expect(pages.block(199)).toBeDefined();
    expect(pages.block(0)).toBeUndefined();
    expect(pages.missing(0)).toBe(1);
  });

  it("are bounded in characters", () => {
    const pages = new Pages();
    pages.setRange(1, 100_000);
    for (let page = 0; page < 20; page += 1) {
      pages.want(page, page);
      fill(pages, page, "x".repeat(4_000));
      pages.refresh();
    }
    expect(pages.loadedPages).toBeLessThan(10);
  });

  it("begin behind the events that are no longer kept, and say so", () => {
    const pages = new Pages();
    pages.setRange(1_201, 2_000);
    expect(pages.index.total).toBe(800);
    expect(pages.missing(0)).toBeUndefined();
    expect(pages.missing(2)).toBe(1_201);
    for (let offset = 1_201; offset <= 1_500; offset += 1) pages.add(event(offset));
    const [note, first] = pages.block(2)?.entries ?? [];
    expect(note?.text).toBe("Events 1–1200 are no longer kept");
    expect(first?.offset).toBe(1_201);
  });

  it("go on behind damaged events, and say which they are", () => {
    const pages = new Pages();
    pages.setRange(1, 1_600);
    for (const offset of [1, 2]) pages.add(event(offset));
    pages.damage(3, 3);
    pages.add(event(4));
    pages.damage(5, 1_510);
    expect([0, 1, 2, 3].map((page) => pages.missing(page))).toEqual([
      undefined,
      undefined,
      undefined,
      1_511,
    ]);
    for (let offset = 1_511; offset <= 1_600; offset += 1) pages.add(event(offset));
    pages.damage(1_601, 1_602);
    expect([pages.last, pages.missing(3)]).toEqual([1_602, undefined]);
    expect(gapRows(pages)).toEqual([
      [0, 3, 3, "Event 3 is"],
      [0, 5, 1_510, "Events 5–1510 are"],
      [3, 1_601, 1_602, "Events 1601–1602 are"],
    ]);
    const times = pages.block(0)?.entries.map(({ time }) => time);
    expect(new Set(times)).toEqual(new Set([event(1).time]));
  });

  it("have one row for a gap, wherever it was met first", () => {
    const pages = new Pages();
    pages.setRange(1, 3_000);
    // The reader has jumped to the middle, and then looks up and down.
    pages.damage(1_001, 1_200);
    expect(gapRows(pages)).toEqual([[2, 1_001, 1_200, "Events 1001–1200 are"]]);
    for (let offset = 1_201; offset <= 1_500; offset += 1) pages.add(event(offset));
    pages.damage(501, 1_000);
    expect(gapRows(pages)).toEqual([[1, 501, 1_200, "Events 501–1200 are"]]);
    for (let offset = 1; offset <= 400; offset += 1) pages.add(event(offset));
    pages.damage(401, 500);
    expect(gapRows(pages)).toEqual([[0, 401, 1_200, "Events 401–1200 are"]]);
    pages.refresh();
    expect([0, 1, 2].map((page) => pages.index.lines(page))).toEqual([401, 0, 300]);
    expect([0, 1, 2].map((page) => pages.missing(page))).toEqual([undefined, undefined, undefined]);
    expect([401, 700, 1_200, 1_201].map((at) => pages.blockOf(at))).toEqual([0, 0, 0, 2]);
  });

  it("have the row of a gap again that fills its page and was let go of, and ask for nothing of it", () => {
    const pages = new Pages();
    const asked: number[] = [];
    pages.onWant = (missing) => asked.push(...missing);
    pages.setRange(1, 100_000);
    pages.damage(501, 30_000);
    for (let page = 60; page < 60 + 2 * PAGES_MAX; page += 1) {
      pages.want(page, page);
      fill(pages, page);
      pages.refresh();
    }
    expect(pages.block(1)).toBeUndefined();
    asked.length = 0;
    pages.want(1, 3);
    expect([asked, gapRows(pages)]).toEqual([[], [[1, 501, 30_000, "Events 501–30000 are"]]]);
    pages.refresh();
    expect([1, 2, 59].map((page) => pages.index.lines(page))).toEqual([1, 0, 0]);
  });

  it("forget the gaps of a history that is gone", () => {
    const pages = new Pages();
    pages.setRange(1, 1_000);
    pages.damage(501, 600);
    pages.rewind(501, "Events 501–1000 were lost");
    pages.add(event(501));
    expect([pages.missing(1), gapRows(pages)]).toEqual([undefined, []]);
  });

  it("let go of events that were lost, and go on with those in their place", () => {
    const pages = new Pages();
    pages.setRange(1, 1_000);
    fill(pages, 0);
    fill(pages, 1);
    pages.rewind(700, "Events 700–1000 were lost");
    expect(pages.last).toBe(699);
    expect(pages.missing(1)).toBe(501);
    for (let offset = 501; offset <= 701; offset += 1) pages.add(event(offset, "new\n"));
    const notes = pages.block(1)?.entries.filter((entry) => entry.kind === "note");
    expect(notes?.map((entry) => entry.text)).toEqual(["Events 700–1000 were lost"]);
  });

  it("say at the end how long the run took", () => {
    const pages = new Pages();
    pages.startedAt = "2026-11-20T21:13:00Z";
    pages.add({ offset: 1, type: "run.completed", time: "2026-11-20T21:16:07Z", data: {} });
    expect(pages.block(0)?.entries[0]?.text).toContain("took 3 m 07 s");
  });

  it("are as much higher as an opened event needs", () => {
    const pages = new Pages();
    pages.add(event(1, "a\nb\n"));
    pages.add(event(2));
    const [entry] = pages.block(0)?.entries ?? [];
    if (!entry) throw new Error("no entry");
    pages.open(entry, 10);
    pages.refresh();
    expect(pages.block(0)?.starts).toEqual([0, 11, 12, 13]);
    pages.open(entry, 0);
    pages.refresh();
    expect(pages.index.total).toBe(3);
  });
});

describe("the scroll position", () => {
  function view(lines: number, viewPx = 600) {
    const index = new LineIndex();
    for (let block = 0; block * 500 < lines; block += 1) {
      index.set(block, Math.min(500, lines - block * 500));
    }
    const scroll = new Scroll(index);
    scroll.viewPx = viewPx;
    scroll.placed(scroll.wantedPx);
    return { index, scroll };
  }

  it("stays at the bottom while lines are added, until a person scrolls up", () => {
    const { index, scroll } = view(1_000);
    expect(scroll.wantedPx).toBe(1_000 * LINE_PX - 600);
    index.set(2, 100);
    expect(scroll.topPx).toBe(1_100 * LINE_PX - 600);
    scroll.placed(scroll.wantedPx);
    scroll.moved(scroll.wantedPx - 100);
    const top = scroll.topPx;
    index.set(3, 500);
    expect(scroll.isFollowing).toBe(false);
    expect(scroll.topPx).toBe(top);
  });

  it("follows again when a person scrolls to the bottom", () => {
    const { scroll } = view(1_000);
    const bottom = scroll.wantedPx;
    scroll.moved(bottom - 300);
    scroll.moved(bottom - 100);
    expect(scroll.isFollowing).toBe(false);
    scroll.moved(bottom);
    expect(scroll.isFollowing).toBe(true);
  });

  it("does not jump when blocks above turn out higher or lower", () => {
    const { index, scroll } = view(10_000);
    scroll.moved(100_000);
    const before = scroll.anchor;
    index.set(0, 4_000);
    index.set(1, 3);
    expect(scroll.anchor).toEqual(before);
    expect(scroll.topPx).toBe(100_000 + (3_500 - 497) * LINE_PX);
  });

  it("is scaled when the log is higher than browsers allow, and small steps are not", () => {
    const { scroll } = view(10_000_000);
    expect(scroll.rangePx).toBe(RANGE_PX_MAX);
    scroll.moved(RANGE_PX_MAX / 2);
    expect(scroll.topPx / scroll.totalPx).toBeCloseTo(0.5, 3);
    const top = scroll.topPx;
    scroll.moved(RANGE_PX_MAX / 2 + 40);
    expect(scroll.topPx).toBeCloseTo(top + 40, 3);
  });

  it("reaches the first and the last line at the ends of the scrollbar", () => {
    const { scroll } = view(3_000_000);
    scroll.moved(0);
    expect(scroll.topPx).toBe(0);
    scroll.moved(RANGE_PX_MAX - 600);
    expect(scroll.topPx).toBe(scroll.totalPx - 600);
    expect(scroll.isFollowing).toBe(true);
  });

  it("is at the top of a log that fits", () => {
    const { scroll } = view(3);
    expect([scroll.topPx, scroll.wantedPx]).toEqual([0, 0]);
    expect(scroll.moved(0)).toBe(false);
  });
});
