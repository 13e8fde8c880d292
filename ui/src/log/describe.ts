/**
 * What a typed event says in one compact line. A custom event says its type and its data.
 *
 * The text is for reading only: the whole event is a click away.
 */

import type { RunEvent } from "@runcast/core";
import { duration } from "../view/time.ts";
import { PLAIN, type Style } from "./ansi.ts";
import type { StyledText } from "./spans.ts";
import { oneLine, Terminal } from "./terminal.ts";

export type Kind =
  | "output"
  | "message"
  | "log"
  | "status"
  | "tool"
  | "control"
  | "custom"
  | "note"
  | "end";

export type Tone = "plain" | "faint" | "stderr" | "info" | "good" | "warn" | "bad";

export interface Description {
  readonly kind: Kind;
  readonly tone: Tone;
  readonly pieces: readonly (readonly [text: string, style: Style])[];
}

/** A longer summary is cut: the event itself is a click away. */
const SUMMARY_CHARS_MAX = 2_000;
/** So many calls of tools are remembered by name. */
const TOOLS_MAX = 256;

const LABEL: Style = { role: "label" };
const NAME: Style = { role: "name" };
const FAINT: Style = { role: "faint" };

type Data = Readonly<Record<string, unknown>>;
type Pieces = (readonly [string, Style])[];

/** Describes any event but fragments of text; `tools` remembers which call was of which tool. */
export function describe(event: RunEvent, tools: Map<string, string>): Description {
  const data = (typeof event.data === "object" && event.data !== null ? event.data : {}) as Data;
  const [family = ""] = event.type.split(".", 1);
  switch (family) {
    case "log":
      return logged(data);
    case "run":
      return ofRun(event, data);
    case "stage":
    case "step":
    case "task":
    case "document":
      return progress(event, data, family);
    case "tool":
      return ofTool(event, data, tools);
    case "message":
      return ofMessage(event, data);
    case "agent":
      return made("status", "info", event, [
        [text(event.agent ?? data.name), NAME],
        ...faint(data.role, data.model),
      ]);
    case "input":
    case "command":
      return asked(event, data, family);
    case "producer":
      return made("note", "warn", event, [
        [`${text(data.lost_events)} events were lost before they were sent: `, PLAIN],
        [text(data.reason), PLAIN],
      ]);
    default:
      return made("custom", "plain", event, [...labels(event), [compact(event.data), FAINT]]);
  }
}

const LEVELS: Readonly<Record<string, readonly [Tone, NonNullable<Style["role"]>]>> = {
  trace: ["faint", "debug"],
  debug: ["faint", "debug"],
  info: ["plain", "info"],
  notice: ["plain", "info"],
  warn: ["warn", "warn"],
  warning: ["warn", "warn"],
  error: ["bad", "bad"],
  critical: ["bad", "bad"],
  fatal: ["bad", "bad"],
};

function logged(data: Data): Description {
  const level = text(data.level);
  const [tone, role] = LEVELS[level.toLowerCase()] ?? ["plain", "label"];
  const pieces: Pieces = [[`${cutOff(oneLine(level.toUpperCase()), 12).padEnd(5)} `, { role }]];
  if (data.logger !== undefined) pieces.push([`${oneLine(text(data.logger))} `, FAINT]);
  pieces.push(...printed(cutOff(text(data.message), SUMMARY_CHARS_MAX)));
  for (const [key, value] of Object.entries((data.fields ?? {}) as Data)) {
    pieces.push([` ${oneLine(key)}=`, FAINT], [brief(value), PLAIN]);
  }
  return { kind: "log", tone, pieces: shown(pieces) };
}

const ENDS: Readonly<Record<string, Tone>> = {
  "run.completed": "good",
  "run.failed": "bad",
  "run.cancelled": "warn",
  "run.timed_out": "bad",
  "run.crashed": "bad",
};

function ofRun(event: RunEvent, data: Data): Description {
  const end = ENDS[event.type];
  const pieces: Pieces = [];
  if (data.exit_code !== undefined && data.exit_code !== null) {
    pieces.push([`exit code ${text(data.exit_code)}`, NAME]);
  }
  if (data.signal !== undefined && data.signal !== null) pieces.push([text(data.signal), NAME]);
  pieces.push([brief(data.name), NAME], [brief(data.workflow), PLAIN]);
  pieces.push([brief(data.status_reason), PLAIN], [problem(data.error), PLAIN]);
  return made(end ? "end" : "status", end ?? "info", event, separated(pieces));
}

function progress(event: RunEvent, data: Data, family: string): Description {
  const subject = event[family as "stage"] ?? data.name ?? data[family];
  const name = data.name !== undefined && data.name !== subject ? ` ${text(data.name)}` : "";
  const fraction = typeof data.progress === "number" ? `${Math.round(data.progress * 100)} %` : "";
  const counts =
    data.current === undefined ? "" : `${text(data.current)}/${text(data.total ?? "?")}`;
  const pieces: Pieces = [
    [`${brief(subject)}${name}`, NAME],
    [fraction, PLAIN],
    [counts, PLAIN],
    [data.attempt === undefined ? "" : `attempt ${text(data.attempt)}`, PLAIN],
    [data.delay_ms === undefined ? "" : `in ${duration(Number(data.delay_ms))}`, PLAIN],
    [brief(data.message), PLAIN],
    [brief(data.reason), PLAIN],
    [problem(data.error), PLAIN],
    [data.bytes === undefined ? "" : `${text(data.bytes)} bytes`, FAINT],
    [took(data), FAINT],
    [brief(data.result ?? data.output), FAINT],
  ];
  const stage = family === "step" && event.stage !== undefined ? `stage ${text(event.stage)}` : "";
  pieces.push([stage, FAINT]);
  return made("status", toneOf(event.type), event, separated(pieces));
}

function ofTool(event: RunEvent, data: Data, tools: Map<string, string>): Description {
  const call = text(data.call);
  if (event.type === "tool.called") {
    if (tools.size >= TOOLS_MAX) tools.clear();
    tools.set(call, text(data.tool));
  }
  const pieces: Pieces = [
    [text(data.tool ?? tools.get(call) ?? call), NAME],
    [brief(data.args ?? data.result), PLAIN],
    [problem(data.error), PLAIN],
    [took(data), FAINT],
  ];
  return made("tool", toneOf(event.type), event, separated(pieces));
}

function ofMessage(event: RunEvent, data: Data): Description {
  const pieces: Pieces = [[brief(data.role), NAME]];
  if (event.type === "message.completed") {
    // The text was read from the deltas; without any, the start of it says what was said.
    pieces.push([cutOff(brief(data.text), 200), FAINT], [brief(data.usage), FAINT]);
  }
  pieces.push([text(data.message), FAINT]);
  return made("message", "faint", event, separated(pieces));
}

function asked(event: RunEvent, data: Data, family: string): Description {
  const tone = /(refused|timed_out|expired)$/.test(event.type) ? "warn" : "info";
  const pieces: Pieces = [
    [brief(data.prompt ?? data.name ?? data[family]), NAME],
    [brief(data.answer ?? data.args ?? data.choices), PLAIN],
    [brief(data.reason), PLAIN],
    [data.by === undefined ? "" : `by ${text(data.by)}`, FAINT],
  ];
  return made("control", tone, event, separated(pieces));
}

function made(kind: Kind, tone: Tone, event: RunEvent, pieces: Pieces): Description {
  return { kind, tone, pieces: shown([[event.type, LABEL], ["  ", PLAIN], ...pieces]) };
}

/** Bounds the pieces together, and takes out what cannot be shown in one row. */
function shown(pieces: Pieces): Pieces {
  const kept: Pieces = [];
  let room = SUMMARY_CHARS_MAX;
  for (const [piece, style] of pieces) {
    if (piece === "" || room <= 0) continue;
    const clean = oneLine(piece);
    kept.push([cutOff(clean, room), style]);
    room -= clean.length;
  }
  return kept;
}

function separated(pieces: Pieces): Pieces {
  const filled = pieces.filter(([piece]) => piece !== "");
  return filled.flatMap((piece, at) => (at === 0 ? [piece] : [[" · ", FAINT] as const, piece]));
}

/** A log's message may have the colours of a terminal. */
function printed(message: string): Pieces {
  if (!message.includes("\x1b")) return [[message.trimEnd(), PLAIN]];
  const line: StyledText = { text: "", spans: [] };
  const terminal = new Terminal<StyledText>();
  terminal.print(message.replace(/[\r\n]+/g, " \u21b5 "), { open: () => line, changed: () => {} });
  let start = 0;
  return line.spans.map(({ end, style }) => {
    const piece = [line.text.slice(start, end), style] as const;
    start = end;
    return piece;
  });
}

function labels(event: RunEvent): Pieces {
  const named = [event.stage, event.step, event.agent].filter((label) => label !== undefined);
  return named.map((label) => [`${label} · `, NAME] as const);
}

function faint(...values: unknown[]): Pieces {
  const filled = values.filter((value) => value !== undefined && value !== null);
  return filled.flatMap((value) => [[" · ", FAINT] as const, [text(value), FAINT] as const]);
}

function toneOf(type: string): Tone {
  if (type.endsWith(".failed")) return "bad";
  if (type.endsWith(".retrying")) return "warn";
  if (type.endsWith(".completed")) return "good";
  return type.endsWith(".skipped") ? "faint" : "info";
}

function took(data: Data): string {
  return typeof data.duration_ms === "number" ? duration(data.duration_ms) : "";
}

function problem(error: unknown): string {
  if (typeof error !== "object" || error === null) return brief(error);
  const { message } = error as { message?: unknown };
  return typeof message === "string" ? message : compact(error);
}

function brief(value: unknown): string {
  if (value === undefined || value === null) return "";
  return typeof value === "string" ? value : compact(value);
}

function compact(value: unknown): string {
  if (value === undefined) return "";
  return cutOff(JSON.stringify(value), SUMMARY_CHARS_MAX);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : value === undefined ? "" : compact(value);
}

function cutOff(value: string, chars: number): string {
  return value.length <= chars ? value : `${value.slice(0, Math.max(0, chars - 1))}…`;
}
