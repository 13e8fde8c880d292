/** A run as a list has it, and a page of its events. */

import type { RunEvent } from "./event.ts";
import type { GapReason } from "./follow.ts";

export type RunStatus =
  | "queued"
  | "starting"
  | "running"
  | "paused"
  | "input_required"
  | "cancelling"
  | "completed"
  | "failed"
  | "cancelled"
  | "timed_out"
  | "crashed"
  | "expired";

export interface Run {
  readonly id: string;
  readonly workflow: string | null;
  readonly name: string | null;
  readonly tags: readonly string[];
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly status: RunStatus;
  readonly status_reason: string | null;
  readonly is_terminal: boolean;
  readonly exit_code: number | null;
  readonly signal: string | null;
  /** A text, or an object of the producer's own. */
  readonly error: unknown;
  /** From 0 to 1, and when it will be done if it goes on as it did; null if that cannot be said. */
  readonly progress: { readonly fraction: number; readonly eta_at?: string } | null;
  /** Inputs that wait for an answer. */
  readonly open_inputs: number;
  readonly created_at: string;
  readonly started_at: string | null;
  readonly ended_at: string | null;
  readonly updated_at: string;
  readonly duration_ms: number | null;
  readonly events: {
    readonly total: number;
    readonly output: number;
    readonly log: number;
    /** Those among all that are damaged and cannot be read any more. */
    readonly damaged: number;
  };
  readonly epoch: number;
  /** The offset at which this is true. */
  readonly offset: number;
  readonly cursor: string;
  readonly first_offset: number;
}

export interface Page {
  readonly run: string;
  readonly epoch: number;
  readonly events: readonly RunEvent[];
  /** Where to read on. */
  readonly next: string;
  /** The first offset that is kept. */
  readonly first: number;
  /** The run's last offset. */
  readonly last: number;
  /** The run has ended. */
  readonly closed: boolean;
  /** What is missing in front of the events. */
  readonly gap?: {
    readonly from: number;
    readonly to: number;
    readonly reason: GapReason;
    readonly epoch?: number;
  };
}
