/**
 * The one table of events that try to be more than one: every control character, and all that some
 * reader takes for the end of a line, a field of a stream or the end of a message, in every field
 * that a producer controls. Bodies are JSON as a producer may write it, not only as `JSON.stringify`
 * does.
 */

/** Every control character, and what else some reader takes for the end of a line. */
const BREAKS = [
  ...Array.from({ length: 0x20 }, (_, code) => String.fromCharCode(code)),
  ...Array.from({ length: 0x21 }, (_, at) => String.fromCharCode(0x7f + at)),
  "\u2028",
  "\u2029",
  "\ufeff",
  "\r\n",
  "\n\n",
  "\r\r",
  "\r\n\r\n",
];
const forged = (line: string) =>
  `a${line}${line}event: end${line}data: {"offset":1}${line}${line}id: 99${line}data: {}${line}${line}`;
/** What a field of a stream or a message could begin or end with. */
const MARKS = [
  "data:",
  "data: {}",
  "id: 99",
  "event: end",
  "retry: 1",
  ": comment",
  '"}]}{"type":"end"}',
  '","offset":99,"data":"',
  "\\n\\ndata: {}\\n\\n",
  "\\",
  '"',
  "\u202e",
  "\ud83d\ude00",
  "\ud800",
  "\udc00x\ud800",
];
/** Texts that no name may be. */
export const FORGED = BREAKS.map(forged);
export const TEXTS = [...FORGED, ...MARKS];

const LABELS = ["channel", "variation", "stage", "step", "agent"] as const;

/** Events with a text in each field that can hold one. */
const drafts = (text: string): readonly object[] => [
  ...LABELS.map((label) => ({ type: "my.event", [label]: text })),
  { type: "my.event", time: text },
  { type: "my.event", data: text },
  { type: "my.event", data: { [text]: text, deep: [[{ [text]: [text] }]] } },
  { type: "output", data: { text, stream: text } },
  { type: "output", data: { text } },
  { type: "message.delta", data: { message: text, text } },
  { type: "message.delta", data: { message: "m", text } },
  { type: "log", data: { level: text, message: text, fields: { [text]: text } } },
  { type: "tool.called", data: { call: "c", tool: text, args: text } },
  { type: "tool.failed", data: { call: "c", error: text } },
  { type: "stage.failed", stage: text, data: { error: text } },
  { type: "step.failed", step: "s", data: { error: { message: text }, reason: text } },
  { type: "run.updated", data: { status_reason: text, name: text } },
  { type: "run.updated", data: { workflow: text, tags: [text] } },
  { type: text },
];
/** All types of the table, which a named stream names its frames by. */
export const TYPES = [
  ...new Set(drafts("").map((draft) => (draft as { type: string }).type)),
].filter((type) => type !== "");

/** The same JSON with every character of its texts escaped. */
function escaped(value: unknown): string {
  if (typeof value === "string") {
    const units = Array.from({ length: value.length }, (_, at) => value.charCodeAt(at));
    return `"${units.map((unit) => `\\u${unit.toString(16).padStart(4, "0")}`).join("")}"`;
  }
  if (Array.isArray(value)) return `[${value.map(escaped).join(",")}]`;
  const fields = Object.entries(value as object);
  return `{${fields.map(([name, field]) => `${escaped(name)}:${escaped(field)}`).join(",")}}`;
}

/** JSON with line ends between its parts, wherever JSON allows them. */
const SPREAD = ["\n", "\r", "\r\n", "\n\n", "\r\r", "\n\t\r \n"].map((line) =>
  [
    ...["", "{", '"type"', ":", '"my.event"', ",", '"data"', ":", "{", '"data:"', ":", "["],
    ...["1.50", ",", "{", "}", ",", '"id: 99"', "]", "}", "}", ""],
  ].join(line),
);

/** What producers send, an event each. */
export const BODIES: readonly string[] = [
  ...TEXTS.flatMap((text) => drafts(text).map((draft) => JSON.stringify(draft))),
  ...TEXTS.flatMap((text) => drafts(text).map(escaped)),
  ...SPREAD,
];

/** What is no JSON: control characters in a text that are not escaped, each by itself. */
export const BARE = BREAKS.slice(0, 0x20).map((c) => `{"type":"my.event","data":"a${c}data: {}"}`);

/** A text's JSON without the line ends between its parts; there are none within them. */
const joined = (json: string) => json.replaceAll(/[\r\n]/g, "");

/** An event's data as it must come out, if the event is one that was given data. */
export function dataOf(body: string): string | undefined {
  const start = /"(?:data|\\u0064\\u0061\\u0074\\u0061)"\s*:/.exec(body);
  if (!start) return undefined;
  return joined(body.slice(start.index + start[0].length, body.lastIndexOf("}"))).trim();
}
