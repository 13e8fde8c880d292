/** One event of a run, as readers get it. Its data is passed through as the producer sent it. */

export interface RunEvent {
  /** 1, 2, 3 … in the run, without a hole; of events that were merged, the newest one's. */
  readonly offset: number;
  /** How many events it stands for, itself and those right before it, if several were merged. */
  readonly merged?: number;
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

/** The offset of the oldest event that it stands for. */
export function firstOffset(event: RunEvent): number {
  return event.offset + 1 - (event.merged ?? 1);
}

/** Reads one event, or undefined if the text is none: then it is the sender's fault. */
export function parseEvent(json: string): RunEvent | undefined {
  try {
    return toEvent(JSON.parse(json));
  } catch {
    return undefined;
  }
}

/** The value as an event, or undefined if it is none. */
export function toEvent(value: unknown): RunEvent | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const event = value as Partial<RunEvent>;
  const isEvent =
    Number.isSafeInteger(event.offset) &&
    (event.merged === undefined || Number.isSafeInteger(event.merged)) &&
    typeof event.type === "string" &&
    typeof event.time === "string";
  return isEvent ? (value as RunEvent) : undefined;
}
