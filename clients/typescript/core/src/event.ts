/** One event of a run, as readers get it. Its data is passed through as the producer sent it. */

export interface RunEvent {
  /** 1, 2, 3 … in the run, without a hole. */
  readonly offset: number;
  /** A typed event such as `step.completed`, or a producer's own dotted name. */
  readonly type: string;
  /** RFC 3339. */
  readonly time: string;
  readonly channel?: string;
  readonly variation?: string;
  readonly stage?: string | number;
  readonly step?: string;
  readonly agent?: string;
  readonly data?: unknown;
}

const TERMINAL = new Set([
  "run.completed",
  "run.failed",
  "run.cancelled",
  "run.timed_out",
  "run.crashed",
]);

/** Whether an event of this type ends its run. */
export function isTerminal(type: string): boolean {
  return TERMINAL.has(type);
}

/** Reads one event, or undefined if the text is none: then it is the sender's fault. */
export function parseEvent(json: string): RunEvent | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return isEvent(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isEvent(value: unknown): value is RunEvent {
  if (typeof value !== "object" || value === null) return false;
  const event = value as Partial<RunEvent>;
  return (
    Number.isSafeInteger(event.offset) &&
    typeof event.type === "string" &&
    typeof event.time === "string"
  );
}
