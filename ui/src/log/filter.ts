/**
 * Which events of a run its log shows: those with a text, of a stage, of a step. It is in the page's
 * address, so that what somebody looks at can be sent to another. Pure.
 */

import type { Choice, RunEvent } from "@runcast/core";
import { matches } from "./match.ts";

export interface LogFilter {
  readonly text: string;
  /** The ways that events name the stage: by its name, by its number. None for any stage. */
  readonly stage: readonly string[];
  readonly step: string | undefined;
  readonly variation: string | undefined;
}

export const EVERYTHING: LogFilter = {
  text: "",
  stage: [],
  step: undefined,
  variation: undefined,
};

/** A stage has a name and a number, and no more. */
const STAGE_NAMES_MAX = 2;

export function filterOf(search: string): LogFilter {
  const query = new URLSearchParams(search);
  return {
    text: query.get("find") ?? "",
    stage: query.getAll("stage").filter(Boolean).slice(0, STAGE_NAMES_MAX),
    step: query.get("step") || undefined,
    variation: query.get("variation") || undefined,
  };
}

/** The filter as the query of an address; empty if it shows everything. */
export function queryOf({ text, stage, step, variation }: LogFilter): string {
  const query = new URLSearchParams();
  for (const name of stage) query.append("stage", name);
  if (step !== undefined) query.set("step", step);
  if (variation !== undefined) query.set("variation", variation);
  if (text !== "") query.set("find", text);
  const pairs = query.toString();
  return pairs && `?${pairs}`;
}

/** The filter's labels, as they are asked for. */
export function choiceOf({ stage, step, variation }: LogFilter): Choice {
  return {
    ...(stage.length > 0 ? { stage } : {}),
    ...(step === undefined ? {} : { step: [step] }),
    ...(variation === undefined ? {} : { variation: [variation] }),
  };
}

/** Whether it shows a live event, by the rules of the server. */
export function lets(filter: LogFilter, event: RunEvent): boolean {
  const { text, stage, step, variation } = filter;
  if (stage.length > 0 && !stage.includes(String(event.stage))) return false;
  if (step !== undefined && event.step !== step) return false;
  if (variation !== undefined && event.variation !== variation) return false;
  return text === "" || matches(event, text);
}
