import { expect, it } from "vitest";
import { applySgr, PLAIN, type Style } from "../src/log/ansi.ts";
import type { StyledText } from "../src/log/spans.ts";
import { LINE_CHARS_MAX, manyLines, oneLine, Terminal } from "../src/log/terminal.ts";

/** Prints fragments, and gives the lines as text. */
function print(...fragments: string[]): StyledText[] {
  const lines: StyledText[] = [];
  const terminal = new Terminal<StyledText>();
  const open = () => {
    const line: StyledText = { text: "", spans: [] };
    lines.push(line);
    return line;
  };
  for (const fragment of fragments) terminal.print(fragment, { open, changed: () => {} });
  return lines;
}

const texts = (...fragments: string[]) => print(...fragments).map((line) => line.text);

/** The runs of a line as `[text, style]`. */
function runs(line: StyledText | undefined): [string, Style][] {
  let start = 0;
  return (line?.spans ?? []).map(({ end, style }) => {
    const run: [string, Style] = [line?.text.slice(start, end) ?? "", style];
    start = end;
    return run;
  });
}

it("fragments of one line are one line, and a fragment of many is many", () => {
  expect(texts("one ", "line\ntwo\n", "\n", "three")).toEqual(["one line", "two", "", "three"]);
});

it("a carriage return writes over the line, as progress bars do", () => {
  expect(texts("10%\r", "50%", "\r100%\r\ndone")).toEqual(["100%", "done"]);
  expect(texts("abcdef\rXY")).toEqual(["XYcdef"]);
  expect(texts("long text\r\x1b[Kshort")).toEqual(["short"]);
  expect(texts("abc\x1b[2K\x1b[1Gx")).toEqual(["x"]);
  expect(texts("ab\b\bX")).toEqual(["Xb"]);
});

it("a tab goes to the next column of eight", () => {
  expect(texts("a\tb\t\tc")).toEqual(["a       b               c"]);
});

it("colours and looks become styles, in whatever fragments they come", () => {
  const [line] = print("a\x1b[1;3", "1mred\x1b", "[0m\x1b[4mu\x1b[24m b");
  expect(runs(line)).toEqual([
    ["a", {}],
    ["red", { bold: true, fg: 1 }],
    ["u", { underline: true }],
    [" b", {}],
  ]);
});

it("colours go on in the next line", () => {
  const [, second] = print("\x1b[32mone\ntwo");
  expect(runs(second)).toEqual([["two", { fg: 2 }]]);
});

it("text that is written over takes the new colour, the rest keeps its own", () => {
  const [line] = print("\x1b[31mredred\r\x1b[32mgr");
  expect(runs(line)).toEqual([
    ["gr", { fg: 2 }],
    ["dred", { fg: 1 }],
  ]);
});

it.each<[string, Style]>([
  ["31", { fg: 1 }],
  ["97;104", { fg: 15, bg: 12 }],
  ["38;5;9", { fg: 9 }],
  ["38;5;208", { fg: "#ff8700" }],
  ["48;5;232", { bg: "#080808" }],
  ["38;2;1;2;255", { fg: "#0102ff" }],
  ["38:2::1:2:255", { fg: "#0102ff" }],
  ["38:2:1:2:255", { fg: "#0102ff" }],
  [
    "1;2;3;4;7;9",
    { bold: true, dim: true, italic: true, underline: true, inverse: true, strike: true },
  ],
  ["38;5", {}],
  ["38;2;999;0;0", { fg: "#ff0000" }],
  ["5;6;58;99999", {}],
  ["", {}],
])("SGR %s", (parameters, style) => {
  expect(applySgr(PLAIN, parameters)).toEqual(style);
});

it("looks are switched off one by one or all at once", () => {
  const all = applySgr(PLAIN, "1;2;3;4;7;9;31;42");
  expect(applySgr(all, "22;23;24;27;29;39;49")).toBe(PLAIN);
  expect(applySgr(all, "0")).toBe(PLAIN);
});

it("other escape sequences are swallowed, also when they come in pieces", () => {
  expect(texts("a\x1b[2J\x1b[10;10Hb\x1b[?25lc\x1b(Bd\x1b=e")).toEqual(["abcde"]);
  expect(texts("a\x1b]0;a title\x07b\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\")).toEqual(["ablink"]);
  expect(texts("a\x1b]0;a ti", "tle\x07b", "\x1b[", "1", "mc")).toEqual(["abc"]);
});

it("an escape sequence without an end does not hold the text for ever", () => {
  const lines = print(`a\x1b]${"x".repeat(5_000)}`, "b");
  expect(lines.map((line) => line.text).join("")).toBe("ab");
});

it("control characters are shown as pictures, and none stays", () => {
  const all = Array.from({ length: 0xa0 }, (_, code) => String.fromCharCode(code)).join("");
  const text = texts(`${all}\u2028\u2029\u202ex`).join("");
  expect(text).not.toMatch(/[\x00-\x1f\x7f-\x9f\u2028\u2029\u202e]/);
  expect(texts("a\0b")).toEqual(["a\u2400b"]);
  expect(oneLine("a\r\nb\x1b[31mc\u2028d\u202ee")).toBe("a\u21b5\u21b5bc\u21b5d\ufffde");
  expect(manyLines("a\nb\0")).toBe("a\nb\u2400");
});

it("a line that is too long goes on in the next", () => {
  const lines = texts("x".repeat(LINE_CHARS_MAX + 10));
  expect(lines.map((line) => line.length)).toEqual([LINE_CHARS_MAX, 10]);
});
