/** What a run does, as the server folds it from its events: `GET /v1/runs/{run}`. */

import type { Run } from "./run.ts";

export type WorkStatus =
  | "pending"
  | "running"
  | "retrying"
  | "completed"
  | "failed"
  | "skipped"
  | "interrupted";

/** A run with all that its state tells. What is not known is absent. */
export interface RunState extends Run {
  /** A name, or the number of a stage without one. */
  readonly current_stage: string | number | null;
  /** From 0, counting the steps that are left out. */
  readonly current_step: number | null;
  readonly step_results: readonly StepResult[];
  readonly output_data: unknown;
  readonly stages: readonly Stage[];
  readonly steps: readonly Step[];
  readonly variations: readonly Variation[];
  readonly agents: readonly Agent[];
  readonly tasks: readonly Task[];
  readonly messages: readonly Message[];
  readonly tool_calls: readonly ToolCall[];
  readonly inputs: readonly Input[];
  readonly commands: readonly Command[];
  readonly usage: Usage;
  /** How much is left out of the state, by kind. It is in the log. */
  readonly omitted: Readonly<Record<string, number>>;
  /** The events that cannot be read any more, the first ranges of them: this is the state of all others. */
  readonly damaged: readonly { readonly from: number; readonly to: number }[];
}

/** Begun and ended, as far as that was said. Times are RFC 3339. */
interface Timed {
  readonly started_at?: string;
  readonly ended_at?: string;
  readonly duration_ms?: number;
}

export interface Stage extends Timed {
  readonly number?: number;
  readonly name?: string;
  readonly variation?: string;
  readonly status: WorkStatus;
  readonly progress?: number;
  readonly attempt: number;
  readonly error?: unknown;
  readonly omitted_bytes?: number;
}

export interface Attempt extends Timed {
  readonly attempt: number;
  readonly status: WorkStatus;
  readonly error?: unknown;
}

export interface Step extends Timed {
  readonly step: string;
  readonly name?: string;
  readonly variation?: string;
  readonly stage?: string | number;
  readonly parent?: string;
  readonly agent?: string;
  readonly status: WorkStatus;
  readonly attempt: number;
  readonly progress?: {
    readonly fraction?: number;
    readonly current?: number;
    readonly total?: number;
    readonly message?: string;
  };
  readonly input?: unknown;
  readonly output?: unknown;
  readonly error?: unknown;
  readonly reason?: string;
  readonly earlier_attempts?: readonly Attempt[];
  readonly omitted_attempts?: number;
  readonly omitted_bytes?: number;
}

export interface StepResult {
  readonly step: string;
  readonly variation?: string;
  readonly status: WorkStatus;
  readonly output: unknown;
  readonly error: unknown;
  readonly duration_ms: number | null;
  readonly attempts: number;
}

export interface Variation extends Timed {
  readonly variation: string;
  readonly name?: string;
  readonly status: WorkStatus;
  readonly exit_code?: number;
  readonly signal?: string;
  readonly error?: unknown;
  readonly output?: unknown;
  readonly omitted_bytes?: number;
}

export interface Agent {
  readonly agent: string;
  readonly name?: string;
  readonly role?: string;
  readonly model?: string;
  readonly parent?: string;
  readonly spawned_at: string;
  readonly omitted_bytes?: number;
}

export interface Task extends Timed {
  readonly task: string;
  readonly agent?: string;
  readonly status: WorkStatus;
  readonly progress?: number;
  readonly message?: string;
  readonly result?: unknown;
  readonly error?: unknown;
  readonly omitted_bytes?: number;
}

export interface Message {
  readonly message: string;
  readonly role?: string;
  readonly status: "streaming" | "completed" | "interrupted";
  readonly text: string;
  readonly started_at?: string;
  readonly completed_at?: string;
  readonly variation?: string;
  readonly step?: string;
  readonly agent?: string;
  readonly usage?: Usage;
  readonly omitted_bytes?: number;
}

export interface ToolCall extends Timed {
  readonly call: string;
  readonly tool?: string;
  readonly status: WorkStatus;
  readonly args?: unknown;
  readonly args_text?: string;
  readonly result?: unknown;
  readonly error?: unknown;
  readonly variation?: string;
  readonly step?: string;
  readonly agent?: string;
  readonly omitted_args_bytes?: number;
  readonly omitted_bytes?: number;
}

export interface Input {
  readonly input: string;
  readonly status: "open" | "answered" | "timed_out" | "closed";
  /** Markdown. */
  readonly prompt?: string;
  readonly choices?: readonly string[];
  /** JSON Schema. */
  readonly schema?: Readonly<Record<string, unknown>>;
  readonly default?: unknown;
  readonly requested_at: string;
  readonly expires_at?: string;
  readonly answer?: unknown;
  readonly answered_by?: string;
  readonly ended_at?: string;
  readonly variation?: string;
  readonly step?: string;
  readonly agent?: string;
  readonly omitted_bytes?: number;
}

export interface Command {
  readonly command: string;
  /** `pause`, `resume`, `stop`, `set`, or a name of the run's own. */
  readonly name: string;
  readonly status: "requested" | "delivered" | "done" | "refused" | "expired" | "closed";
  readonly args?: unknown;
  readonly key?: string;
  readonly by?: string;
  readonly reason?: string;
  readonly requested_at: string;
  readonly delivered_at?: string;
  readonly ended_at?: string;
  readonly expires_at?: string;
  readonly omitted_bytes?: number;
}

export interface Usage {
  readonly input_tokens: number;
  readonly output_tokens: number;
  readonly cache_read_input_tokens?: number;
  readonly cache_creation_input_tokens?: number;
  readonly reasoning_tokens?: number;
  readonly cost_usd?: number;
}
