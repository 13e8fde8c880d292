/** What is said to a run and by it: commands, what became of them, and questions for a person. */

import type { Input } from "./run-state.ts";

export interface CommandDraft {
  /** `pause`, `resume`, `stop`, `set`, or a name of the run's own. */
  readonly name: string;
  readonly args?: unknown;
  /** A retry with the same key is the same command. */
  readonly key?: string;
  /** Who asks. */
  readonly by?: string;
  readonly reason?: string;
  /** The command expires if nobody carried it out by then. */
  readonly timeout_ms?: number;
}

/** What became of a command. */
export type Outcome = {
  readonly result?: unknown;
  readonly by?: string;
} & (
  | { readonly status: "delivered" | "done"; readonly reason?: string }
  | { readonly status: "refused"; readonly reason: string }
);

/** An open input, with the run that asks. */
export interface Question extends Input {
  readonly run: string;
  readonly run_name: string | null;
  readonly workflow: string | null;
}

export interface InputQuery {
  readonly workflow?: string;
  /** Of runs that have all of these. */
  readonly tag?: readonly string[];
  /** 1 to 1,000; by default 100. */
  readonly limit?: number;
  /** `next` of the list before. */
  readonly cursor?: string;
  readonly signal?: AbortSignal;
}

export interface InputList {
  readonly inputs: readonly Question[];
  readonly next: string | null;
}
