import { expect, it } from "vitest";
import { drawMarkdown, webAddress } from "../src/input/markdown.tsx";

interface Element {
  readonly type: unknown;
  readonly props: { readonly children?: unknown; readonly href?: string };
}

/** What is drawn, as the names of its elements and its text. */
function drawn(text: string): string {
  const write = (node: unknown): string => {
    if (Array.isArray(node)) return node.map(write).join("");
    if (typeof node !== "object" || node === null) return node ? String(node) : "";
    const { type, props } = node as Element;
    const href = props.href === undefined ? "" : ` ${props.href}`;
    return `[${String(type)}${href}: ${write(props.children)}]`;
  };
  return write(drawMarkdown(text));
}

it("the usual marks are drawn", () => {
  expect(drawn("# Deploy?\n\nTo **prod**, *now*, `v2`")).toBe(
    "[p: Deploy?][p: To [strong: prod], [em: now], [code: v2]]",
  );
  expect(drawn("- a\n- [x] b\n\n3. c")).toBe("[ul: [li: a][li: ☑ b]][ol: [li: c]]");
  expect(drawn("```sh\nrm -rf &amp;\n```")).toBe("[pre: [code: rm -rf &amp;]]");
  expect(drawn("|a|\n|-|\n|b|")).toBe("[table: [thead: [tr: [th: a]]][tbody: [tr: [td: b]]]]");
  expect(drawn("1 &lt; 2 &amp;&amp; 3")).toBe("[p: 1 < 2 && 3]");
});

it("HTML is shown as the text that it is", () => {
  expect(drawn("<img src=x onerror=alert(1)>")).toBe("<img src=x onerror=alert(1)>");
  expect(drawn("a <b onclick=x>b</b>")).toBe("[p: a <b onclick=x>b</b>]");
});

it("only addresses of the web are links", () => {
  expect(drawn("[a](https://example.com/x)")).toBe("[p: [a https://example.com/x: a]]");
  expect(drawn("[a](javascript:alert(1))")).toBe("[p: a (javascript:alert(1))]");
  expect(drawn("![pic](https://example.com/p.png)")).toBe(
    "[p: [a https://example.com/p.png: pic]]",
  );
  for (const href of [
    "javascript:x",
    " java\nscript:x",
    "data:text/html,x",
    "//evil",
    "/runs",
    "",
  ]) {
    expect(webAddress(href)).toBeUndefined();
  }
});

it("what is nested without an end is shown as it was written", () => {
  const deep = `${"> ".repeat(8_000)}x`;
  expect(drawn(deep)).toBe(`[pre: ${deep}]`);
  expect(drawn(`${"> ".repeat(100)}x`)).toContain("> > ");
});
