/**
 * The steps of a run as the rows of a tree with a time line. Pure: what a row shows is plain text and
 * numbers, so that a row that shows the same is not drawn again.
 */

import type { RunState, Step, WorkStatus } from "@runcast/core";
import { oneLine } from "../log/terminal.ts";
import { duration, stopwatch } from "../view/time.ts";
import { errorText } from "./value.tsx";

/** A bar of a time line; places are shares of it, from 0 to 1. */
export interface Bar {
  readonly from: number;
  readonly to: number;
  readonly status: WorkStatus;
}

export interface StepRow {
  readonly key: string;
  readonly step: string;
  readonly variation: string | undefined;
  readonly name: string;
  readonly status: WorkStatus;
  readonly depth: number;
  /** How many rows are below it, folded or not. */
  readonly children: number;
  readonly isFolded: boolean;
  readonly attempt: number;
  /** How far it is, or why it failed. */
  readonly note: string;
  readonly fraction: number | undefined;
  readonly took: string;
  /** The attempts before it, and the newest one. */
  readonly bars: readonly Bar[];
}

/** Deeper steps are not indented further. */
const DEPTH_MAX = 8;
/** A longer name or remark is cut: the whole of it is in the log. */
const TEXT_CHARS_MAX = 300;
/** A bar is at least so wide, or nobody sees it. */
const BAR_SHARE_MIN = 0.006;
/** The time line of a run at work ends a little ahead, so that it is not drawn anew each second. */
const AHEAD = 1.25;
const LINE_MS_MIN = 1_000;

/** What a step is told apart by. */
export function keyOf(step: string, variation: string | undefined): string {
  return JSON.stringify(variation === undefined ? [step] : [step, variation]);
}

/** From when to when the time line goes. */
export interface Extent {
  readonly from: number;
  readonly to: number;
}

export function extentOf(run: RunState, now: number): Extent {
  const begins = [run.started_at ?? run.created_at, ...run.steps.map((step) => firstOf(step))]
    .map((time) => Date.parse(time ?? ""))
    .filter(Number.isFinite);
  const from = begins.reduce((least, time) => Math.min(least, time), begins[0] ?? now);
  const ended = Date.parse(run.ended_at ?? "");
  if (Number.isFinite(ended)) return { from, to: Math.max(ended, from + 1) };
  const steps = Math.log(Math.max(1, (now - from) / LINE_MS_MIN)) / Math.log(AHEAD);
  return { from, to: from + LINE_MS_MIN * AHEAD ** (Math.floor(steps) + 1) };
}

/** The rows that are seen, each below its parent. */
export function rowsOf(
  steps: readonly Step[],
  folded: ReadonlySet<string>,
  extent: Extent,
  now: number,
): StepRow[] {
  const { roots, below } = familyOf(steps);
  const rows: StepRow[] = [];
  const pending = roots.map((step) => ({ step, depth: 0 })).reverse();
  for (let next = pending.pop(); next; next = pending.pop()) {
    const { step, depth } = next;
    const key = keyOf(step.step, step.variation);
    const children = below.get(key) ?? [];
    const isFolded = folded.has(key);
    rows.push({ ...rowOf(step, extent, now), depth, children: children.length, isFolded });
    if (isFolded) continue;
    const deeper = Math.min(depth + 1, DEPTH_MAX);
    for (const child of [...children].reverse()) pending.push({ step: child, depth: deeper });
  }
  return rows;
}

/** Who is below whom. A step whose parent is unknown, or below itself, stands alone. */
function familyOf(steps: readonly Step[]) {
  const known = new Map(steps.map((step) => [keyOf(step.step, step.variation), step]));
  const parentOf = ({ parent, variation }: Step): Step | undefined => {
    if (parent === undefined) return undefined;
    return known.get(keyOf(parent, variation)) ?? known.get(keyOf(parent, undefined));
  };
  const below = new Map<string, Step[]>();
  const roots: Step[] = [];
  /** Those whose way up is known to end. */
  const ending = new Set<Step>();
  for (const step of steps) {
    const parent = parentOf(step);
    if (!parent || !hasEnd(step, parentOf, ending)) roots.push(step);
    else {
      const key = keyOf(parent.step, parent.variation);
      const siblings = below.get(key);
      if (siblings) siblings.push(step);
      else below.set(key, [step]);
    }
  }
  return { roots, below };
}

/** Whether the way up from a step ends, and does not go round. */
function hasEnd(
  step: Step,
  parentOf: (step: Step) => Step | undefined,
  ending: Set<Step>,
): boolean {
  const way = new Set<Step>();
  for (let at: Step | undefined = step; at && !ending.has(at); at = parentOf(at)) {
    if (way.has(at)) return false;
    way.add(at);
  }
  for (const passed of way) ending.add(passed);
  return true;
}

function rowOf(step: Step, extent: Extent, now: number) {
  const fraction = fractionOf(step);
  const name = brief(step.name ?? step.step);
  return {
    key: keyOf(step.step, step.variation),
    step: step.step,
    variation: step.variation,
    name: name === "" ? "(no name)" : name,
    status: step.status,
    attempt: step.attempt,
    note: brief(noteOf(step)),
    fraction: isAtWork(step.status) ? fraction : undefined,
    took: tookOf(step, now),
    bars: barsOf(step, extent, now),
  };
}

function fractionOf({ progress }: Step): number | undefined {
  if (progress?.fraction !== undefined) return Math.max(0, Math.min(1, progress.fraction));
  const { current, total } = progress ?? {};
  return current === undefined || !total ? undefined : Math.max(0, Math.min(1, current / total));
}

function noteOf(step: Step): string {
  if (step.error !== undefined && step.status !== "completed") return errorText(step.error);
  if (step.reason !== undefined) return step.reason;
  if (!isAtWork(step.status) || !step.progress) return "";
  const { current, total, message } = step.progress;
  const counts = current === undefined ? "" : `${current}${total === undefined ? "" : `/${total}`}`;
  return [counts, message].filter(Boolean).join(" · ");
}

export function isAtWork(status: WorkStatus): boolean {
  return status === "running" || status === "retrying";
}

/** How long something took or takes; empty if it never began. */
export function tookOf(
  timed: {
    readonly status: WorkStatus;
    readonly started_at?: string;
    readonly ended_at?: string;
    readonly duration_ms?: number;
  },
  now: number,
): string {
  if (timed.duration_ms !== undefined) return duration(timed.duration_ms);
  if (timed.started_at === undefined) return "";
  const began = Date.parse(timed.started_at);
  if (timed.ended_at !== undefined) return duration(Date.parse(timed.ended_at) - began);
  return isAtWork(timed.status) ? stopwatch(now - began) : "";
}

function barsOf(step: Step, extent: Extent, now: number): Bar[] {
  const attempts = [...(step.earlier_attempts ?? []), step];
  return attempts.flatMap(({ started_at, ended_at, status }) => {
    if (started_at === undefined) return [];
    const from = share(Date.parse(started_at), extent);
    // A bar of one at work moves with the clock, each second.
    const end =
      ended_at === undefined ? (isAtWork(status) ? now : extent.to) : Date.parse(ended_at);
    const to = Math.max(share(end, extent), from + BAR_SHARE_MIN);
    return Number.isFinite(from) && Number.isFinite(to) ? [{ from, to, status }] : [];
  });
}

function share(time: number, { from, to }: Extent): number {
  return Math.max(0, Math.min(1 - BAR_SHARE_MIN, (time - from) / (to - from)));
}

function firstOf(step: Step): string | undefined {
  return step.earlier_attempts?.[0]?.started_at ?? step.started_at;
}

/** A stranger's text for one line. */
export function brief(text: string): string {
  const short = text.length > TEXT_CHARS_MAX ? `${text.slice(0, TEXT_CHARS_MAX)}…` : text;
  return oneLine(short);
}
