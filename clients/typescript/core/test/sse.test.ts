import { describe, expect, it } from "vitest";
import { SseParser } from "../src/sse.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

function whole(text: string) {
  return new SseParser().push(bytes(text));
}

describe("an event stream", () => {
  it("is read the same however its bytes are cut", () => {
    for (const newline of ["\n", "\r", "\r\n"]) {
      const lines = [
        "\uFEFFid: 1",
        "data: é🔸",
        "data:  b",
        "",
        ": beat",
        "event: end",
        "data",
        "",
      ];
      const last = ["id: 2", "data: \u2028x", "", ": beat", "", ""];
      const text = `${[...lines, ...last].join(newline)}`;
      const input = bytes(text);
      const expected = [
        { event: "message", data: "é🔸\n b", id: "1" },
        { event: "end", data: "", id: "1" },
        { event: "message", data: "\u2028x", id: "2" },
        { event: "message", id: "2", isComment: true },
      ];
      for (let first = 0; first <= input.length; first += 1) {
        for (const second of [first, Math.min(first + 1, input.length), input.length]) {
          const parser = new SseParser();
          const frames = [
            ...parser.push(input.slice(0, first)),
            ...parser.push(input.slice(first, second)),
            ...parser.push(input.slice(second)),
          ];
          expect(frames).toEqual(expected);
        }
      }
    }
  });

  it("gives no frame that says nothing, and none that is cut off", () => {
    expect(whole("event: x\n\n\n\n")).toEqual([]);
    expect(whole("id: 1\n\n")).toEqual([{ event: "message", id: "1" }]);
    expect(whole(": beat\n")).toEqual([]);
    expect(whole("id: 1\n")).toEqual([]);
    expect(whole("data: half")).toEqual([]);
    expect(whole("data: half\n")).toEqual([]);
  });

  it("keeps the last id, and forgets the event's name", () => {
    expect(
      whole("id: 7\nevent: gap\ndata: a\n\ndata: b\n\nid\ndata: c\n\nid: \0\ndata: d\n\n"),
    ).toEqual([
      { event: "gap", data: "a", id: "7" },
      { event: "message", data: "b", id: "7" },
      { event: "message", data: "c", id: "" },
      { event: "message", data: "d", id: "" },
    ]);
  });

  it("gives a comment as a sign of life, if there is nothing else in its frame", () => {
    const comment = { event: "message", id: "", isComment: true };
    expect(whole(":\n\n: a\n: b\n\n: c\ndata: d\n\n\n:\n\n")).toEqual([
      comment,
      comment,
      { event: "message", id: "", data: "d" },
      comment,
    ]);
  });

  it("says when to come back, if the server does", () => {
    expect(whole(": hi\nretry: 1000\n\nid: 4\n\nretry: 25\n\ndata: a\n\n")).toEqual([
      { event: "message", id: "", retry_ms: 1_000 },
      { event: "message", id: "4" },
      { event: "message", id: "4", retry_ms: 25 },
      { event: "message", data: "a", id: "4" },
    ]);
    expect(whole("retry: -1\n\nretry: 1e3\n\nretry\n\nretry: 9999999999\n\n")).toEqual([]);
  });

  it("refuses a line or a frame that passes its bound", () => {
    expect(() => new SseParser(100).push(bytes("x".repeat(101)))).toThrow("100 characters");
    const parser = new SseParser(100);
    const line = bytes(`data: ${"x".repeat(60)}\n`);
    parser.push(line);
    expect(() => parser.push(line)).toThrow("100 characters");
  });

  it("takes ten thousand small frames quickly and without losing one", () => {
    const text = Array.from({ length: 10_000 }, (_, at) => `id: ${at}\ndata: ${at}\n\n`).join("");
    const frames = whole(text);
    expect(frames.length).toBe(10_000);
    expect(frames.at(-1)).toEqual({ event: "message", data: "9999", id: "9999" });
  });
});
