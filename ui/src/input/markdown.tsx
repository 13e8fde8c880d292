/**
 * A stranger's Markdown as text with a look: no HTML, no image, no address but http and https.
 *
 * The library only takes the text apart. What is drawn is made here, of text nodes, so that nothing
 * of it can become markup.
 */

import { lexer, type Token, type Tokens } from "marked";
import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";

/** What is nested deeper is shown as it was written. */
const DEPTH_MAX = 12;
/** A longer text is not taken apart. */
const CHARS_MAX = 32 * 1024;

export function Markdown({ text }: { text: string }) {
  const drawn = useMemo(() => drawMarkdown(text), [text]);
  return <div class="markdown">{drawn}</div>;
}

/** The text's parts as elements, none of which has any but text in it. */
export function drawMarkdown(text: string): ComponentChildren {
  if (text.length > CHARS_MAX) return <pre>{text}</pre>;
  try {
    return draw(lexer(text), 0);
  } catch {
    // Nested so deep that the library cannot follow.
    return <pre>{text}</pre>;
  }
}

function draw(tokens: readonly Token[], depth: number): ComponentChildren {
  if (depth > DEPTH_MAX) return tokens.map((token) => token.raw).join("");
  return tokens.map((token) => one(token as Tokens.Generic, depth + 1));
}

function one(token: Tokens.Generic, depth: number): ComponentChildren {
  const inner = () => draw(token.tokens ?? [], depth);
  switch (token.type) {
    case "space":
    case "def":
      return null;
    case "paragraph":
      return <p>{inner()}</p>;
    case "heading":
      return <p class="markdown-heading">{inner()}</p>;
    case "blockquote":
      return <blockquote>{inner()}</blockquote>;
    case "hr":
      return <hr />;
    case "code":
      return (
        <pre>
          <code>{token.text}</code>
        </pre>
      );
    case "list":
      return listed(token as Tokens.List, depth);
    case "table":
      return table(token as Tokens.Table, depth);
    case "strong":
      return <strong>{inner()}</strong>;
    case "em":
      return <em>{inner()}</em>;
    case "del":
      return <s>{inner()}</s>;
    case "codespan":
      return <code>{token.text}</code>;
    case "br":
      return <br />;
    case "link":
    case "image":
      return linked(token, depth);
    case "escape":
      return token.text;
    case "text":
      return token.tokens ? inner() : decoded(token.text);
    default:
      // HTML, above all: it is shown as the text that it is.
      return token.raw;
  }
}

function listed(list: Tokens.List, depth: number): ComponentChildren {
  const items = list.items.map((item, at) => (
    <li key={`item ${at}`}>
      {item.task && (item.checked ? "☑ " : "☐ ")}
      {draw(
        item.tokens.filter((token) => token.type !== "checkbox"),
        depth,
      )}
    </li>
  ));
  return list.ordered ? <ol start={Number(list.start) || 1}>{items}</ol> : <ul>{items}</ul>;
}

function table(token: Tokens.Table, depth: number): ComponentChildren {
  const cells = (row: readonly Tokens.TableCell[], Cell: "th" | "td") => (
    <tr>
      {row.map((cell) => (
        <Cell>{draw(cell.tokens, depth)}</Cell>
      ))}
    </tr>
  );
  return (
    <table>
      <thead>{cells(token.header, "th")}</thead>
      <tbody>{token.rows.map((row) => cells(row, "td"))}</tbody>
    </table>
  );
}

function linked(token: Tokens.Generic, depth: number): ComponentChildren {
  const isImage = token.type === "image";
  const text = isImage ? decoded(token.text || token.href) : draw(token.tokens ?? [], depth);
  const href = webAddress(token.href);
  if (href === undefined) return isImage ? text : [text, ` (${token.href})`];
  return (
    <a href={href} target="_blank" rel="noreferrer noopener nofollow" title={href}>
      {text}
    </a>
  );
}

/** The address if it is one of the web, and one that says where it leads. */
export function webAddress(href: string): string | undefined {
  try {
    const url = new URL(href);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : undefined;
  } catch {
    return undefined;
  }
}

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  nbsp: "\u00a0",
};

function decoded(text: string): string {
  return text.replace(/&(amp|lt|gt|quot|apos|nbsp|#39);/g, (whole, name: string) => {
    return name === "#39" ? "'" : (ENTITIES[name] ?? whole);
  });
}
