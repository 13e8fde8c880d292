import type { RunEvent } from "@runcast/core";
import { describe, expect, it } from "vitest";
import {
  type Entry,
  EntryBuilder,
  EVENT_CHARS_MAX,
  linesOf,
  matchingEntries,
} from "../src/log/entry.ts";
import { matches, places } from "../src/log/match.ts";
import { wrap } from "../src/log/wrap.ts";

type Draft = Omit<RunEvent, "offset" | "time">;

function build(...drafts: Draft[]): Entry[] {
  const builder = new EntryBuilder();
  drafts.forEach((draft, at) => {
    builder.add({ offset: at + 1, time: "2026-11-20T21:16:00.123Z", ...draft });
  });
  return [...builder.entries];
}

const texts = (...drafts: Draft[]) => build(...drafts).map((entry) => entry.text);
const output = (text: string, more: Partial<Draft> & { stream?: string } = {}): Draft => {
  const { stream = "stdout", ...labels } = more;
  return { type: "output", channel: "output", data: { text, stream }, ...labels };
};
const delta = (text: string, message = "m"): Draft => ({
  type: "message.delta",
  data: { message, text },
});

describe("entries", () => {
  it("join the fragments of a line of one stream, and of no other", () => {
    const entries = build(
      output("a"),
      output("error", { stream: "stderr" }),
      output("b\nc"),
      output("x", { variation: "v1" }),
      output("d\n"),
    );
    expect(entries.map((entry) => entry.text)).toEqual(["ab", "error", "cd", "x"]);
    expect(entries.map(({ offset, last }) => [offset, last])).toEqual([
      [1, 3],
      [2, 2],
      [3, 5],
      [4, 4],
    ]);
    expect(entries[1]?.tone).toBe("stderr");
    expect(entries[3]?.variation).toBe("v1");
  });

  it("join the deltas of one message, with its lines", () => {
    const all = texts(delta("Two ti"), delta("des\n"), delta("other", "n"), delta("a day"));
    expect(all).toEqual(["Two tides\na day", "other"]);
  });

  it("have keys that no two share", () => {
    const entries = build(output("a\nb\nc"), output("d\n"), delta("x"), { type: "my.event" });
    expect(new Set(entries.map((entry) => entry.key)).size).toBe(entries.length);
  });

  it("do not reach back to a line that is far above", () => {
    const between = Array.from({ length: 40 }, () => ({ type: "my.event" }));
    const all = texts(output("begun …"), ...between, output("done\n"));
    expect(all.at(0)).toBe("begun …");
    expect(all.at(-1)).toBe("done");
  });

  it("hold a bounded part of a large event", () => {
    const [first, ...others] = build(output("x".repeat(300_000)));
    const chars = [first, ...others].reduce((sum, entry) => sum + (entry?.text.length ?? 0), 0);
    expect(chars).toBeLessThan(EVENT_CHARS_MAX + 100);
    expect([first, ...others].at(-1)?.text).toContain("234464 more characters");
  });

  it.each<[Draft, string]>([
    [
      { type: "step.completed", step: "fetch", stage: 4, data: { duration_ms: 812 } },
      "step.completed  fetch · 812 ms · stage 4",
    ],
    [
      { type: "step.progress", step: "f", data: { progress: 0.5, current: 1, total: 2 } },
      "step.progress  f · 50 % · 1/2",
    ],
    [{ type: "stage.started", stage: 2, data: { name: "write" } }, "stage.started  2 write"],
    [
      { type: "log", data: { level: "warn", message: "hot", logger: "cpu", fields: { t: 90 } } },
      "WARN  cpu hot t=90",
    ],
    [
      { type: "tool.called", data: { call: "c", tool: "search", args: { q: "x" } } },
      'tool.called  search · {"q":"x"}',
    ],
    [{ type: "run.failed", data: { exit_code: 3, error: "no" } }, "run.failed  exit code 3 · no"],
    [
      { type: "run.crashed", data: { signal: "SIGKILL", error: { message: "gone" } } },
      "run.crashed  SIGKILL · gone",
    ],
    [{ type: "my.event", data: { a: [1] } }, 'my.event  {"a":[1]}'],
    [{ type: "my.event" }, "my.event  "],
    [
      { type: "producer.gap", data: { lost_events: 7, reason: "spool is full" } },
      "producer.gap  7 events were lost before they were sent: spool is full",
    ],
  ])("say what an event says: %#", (draft, text) => {
    expect(texts(draft)).toEqual([text]);
  });

  it("know the tool of a call that completes", () => {
    const called = { type: "tool.called", data: { call: "c", tool: "search" } };
    const completed = { type: "tool.completed", data: { call: "c", result: "2 hits" } };
    expect(texts(called, completed)[1]).toBe("tool.completed  search · 2 hits");
  });

  it("are not confused by data that is not what it should be", () => {
    const odd = [null, 1, "x", [], { text: 1 }, { message: {}, level: 1, error: [] }];
    const types = ["output", "message.delta", "log", "run.failed", "tool.called", "step.started"];
    for (const data of odd) {
      for (const type of types) expect(() => build({ type, data })).not.toThrow();
    }
  });

  it("have no control character, whatever an event's fields hold", () => {
    const bad = 'a\nb\r\u2028\u2029\0\x1b[31m\x9b\u202e"<img src=x onerror=alert(1)>';
    const data = {
      text: bad,
      message: bad,
      call: bad,
      tool: bad,
      args: { [bad]: bad },
      error: bad,
    };
    const more = { level: bad, logger: bad, fields: { [bad]: bad }, status_reason: bad, name: bad };
    const types = [
      "log",
      "run.failed",
      "tool.called",
      "tool.args",
      "step.failed",
      "input.requested",
    ];
    for (const type of [...types, "output", "message.completed", "my.event"]) {
      const entries = build({ type, step: bad, agent: bad, data: { ...data, ...more } });
      const all = entries.map((entry) => entry.text).join("");
      expect(all, type).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]/);
      if (type !== "tool.args") expect(all, type).not.toContain("\n");
    }
  });
});

describe("a text that is searched for", () => {
  const event = (data: unknown, type = "my.event"): RunEvent => ({
    offset: 1,
    type,
    time: "",
    data,
  });

  it("is found as the server finds it", () => {
    const data = { key: ['a Tést\n"x"', { b: "needle" }] };
    for (const text of ["NEEDLE", 'tést\n"X', "my.ev"])
      expect(matches(event(data), text)).toBe(true);
    for (const text of ["key", "offset", "needles"]) {
      expect(matches(event(data), text)).toBe(false);
    }
    expect(matches(event(undefined), "x")).toBe(false);
  });

  it("shows the lines of an event that have it", () => {
    const found = matchingEntries(event({ text: "one\ntwo\nTWO more\n" }, "output"), "two");
    expect(found.map((entry) => entry.text)).toEqual(["two", "TWO more"]);
    expect(matchingEntries(event({ text: "one\ntwo" }, "output"), "e\nt")).toHaveLength(1);
  });

  it("is marked wherever it is, without overlap and in any case", () => {
    expect(places("aAaa", "AA")).toEqual([
      [0, 2],
      [2, 4],
    ]);
    expect(places("İx", "x")).toEqual([[1, 2]]);
    expect(places("abc", "")).toEqual([]);
  });
});

describe("a long text", () => {
  const lines = (text: string, columns: number) => {
    const starts = wrap(text, columns);
    return starts.slice(0, -1).map((start, at) => text.slice(start, starts[at + 1]));
  };

  it("is one line if it fits", () => {
    expect(lines("", 10)).toEqual([""]);
    expect(lines("0123456789", 10)).toEqual(["0123456789"]);
  });

  it("breaks between words, and within a word that is longer than half a line", () => {
    expect(lines("the quick brown fox", 10)).toEqual(["the quick ", "brown fox"]);
    expect(lines("a 0123456789abc", 10)).toEqual(["a 01234567", "89abc"]);
  });

  it("breaks where it says so", () => {
    expect(lines("a\n\nb", 10)).toEqual(["a\n", "\n", "b"]);
  });

  it("counts wide characters as two columns", () => {
    expect(lines("日本語日本語", 6)).toEqual(["日本語", "日本語"]);
    expect(lines("🔸🔸🔸", 4)).toEqual(["🔸🔸", "🔸"]);
  });

  it("keeps every character, whatever the width", () => {
    const text = "words and 日本語 and 🔸 combined é\nmore  spaces   here ".repeat(5);
    for (let columns = 2; columns < 60; columns += 1) {
      expect(lines(text, columns).join("")).toBe(text);
    }
  });

  it("is wrapped again when the width or the text changes", () => {
    const builder = new EntryBuilder();
    const event = { type: "output", time: "", data: { text: "x".repeat(30) } };
    builder.add({ ...event, offset: 1 });
    const [entry] = builder.entries;
    if (!entry) throw new Error("no entry");
    expect(linesOf(entry, 30)).toHaveLength(2);
    builder.add({ ...event, offset: 2 });
    expect(linesOf(entry, 30)).toHaveLength(3);
    expect(linesOf(entry, 20)).toHaveLength(4);
  });
});
