/**
 * Publishes to runs over a connection that may break: each publish is stored once.
 *
 * A producer numbers the events of each run. One publish a run is under way at a time, so that a
 * refusal leaves no hole in the numbers; one whose answer was lost is sent again with its own.
 */

import { type ClientMessage, MESSAGE_BYTES_MAX, type ServerMessage } from "./message.ts";
import type { NetworkError, ProblemError, ProtocolError } from "./problem.ts";
import type { Port } from "./subscription.ts";
import { problemOf } from "./subscription.ts";

/** An event on its way in: a type, and what it says. */
export interface EventDraft {
  readonly type: string;
  /** RFC 3339; by default the server's clock. */
  readonly time?: string;
  readonly channel?: string;
  readonly variation?: string;
  readonly stage?: string | number;
  readonly step?: string;
  readonly agent?: string;
  readonly data?: unknown;
}

export interface PublishOptions {
  /** Only if this is the run's last offset. */
  readonly expected_offset?: number;
  /** Whether to create the run; by default true. */
  readonly create?: boolean;
}

/** What was stored. */
export interface Published {
  readonly run: string;
  readonly epoch: number;
  /** Null when all had been stored before. */
  readonly first: number | null;
  readonly last: number | null;
  readonly stored: number;
  readonly duplicates: number;
}

/** Who publishes. A producer that goes on after a restart needs an id of its own, and a new epoch. */
export interface Producer {
  readonly id: string;
  readonly epoch: number;
}

/** Publishes that wait in one connection. */
const WAITING_MAX = 10_000;

interface Waiting {
  readonly events: readonly EventDraft[];
  readonly options: PublishOptions;
  readonly resolve: (published: Published) => void;
  readonly reject: (error: Error) => void;
  attempt: number;
}

interface Line {
  /** The number of the next event. */
  sequence: number;
  /** The first of them is the one under way. */
  readonly waiting: Waiting[];
  /** Under which id, if it was sent on this connection. */
  sent: number | undefined;
}

export class Publisher {
  readonly #port: Pick<Port, "send" | "isOpen" | "later">;
  readonly #producer: Producer;
  readonly #lines = new Map<string, Line>();
  readonly #runs = new Map<number, string>();
  #waiting = 0;
  #id = 0;

  constructor(port: Pick<Port, "send" | "isOpen" | "later">, producer: Producer) {
    this.#port = port;
    this.#producer = producer;
  }

  publish(run: string, events: readonly EventDraft[], options: PublishOptions): Promise<Published> {
    if (this.#waiting >= WAITING_MAX) {
      return Promise.reject(new RangeError(`${WAITING_MAX} publishes wait already`));
    }
    return new Promise((resolve, reject) => {
      let line = this.#lines.get(run);
      if (!line) {
        line = { sequence: 0, waiting: [], sent: undefined };
        this.#lines.set(run, line);
      }
      line.waiting.push({ events, options, resolve, reject, attempt: 0 });
      this.#waiting += 1;
      if (line.waiting.length === 1) this.#send(run, line);
    });
  }

  /** There is a connection. */
  opened(): void {
    for (const [run, line] of this.#lines) this.#send(run, line);
  }

  /** There is none any more: what was not answered is sent again. */
  lost(): void {
    this.#runs.clear();
    for (const line of this.#lines.values()) line.sent = undefined;
  }

  /** There will never be one again. */
  failed(error: ProblemError | ProtocolError | NetworkError): void {
    this.lost();
    for (const line of this.#lines.values()) {
      for (const waiting of line.waiting.splice(0)) waiting.reject(error);
    }
    this.#waiting = 0;
  }

  /** Takes a `published`, or the `error` of a publish. */
  take(message: ServerMessage): void {
    const run = this.#runs.get(message.id as number);
    const line = run === undefined ? undefined : this.#lines.get(run);
    const first = line?.waiting[0];
    if (run === undefined || !line || !first) return;
    this.#runs.delete(message.id as number);
    line.sent = undefined;
    if (message.type === "published") {
      line.sequence += first.events.length;
      first.resolve(publishedOf(message));
    } else {
      const problem = problemOf(message);
      if (problem.isTransient) {
        // It may have been stored all the same: only the same numbers again are safe.
        first.attempt += 1;
        this.#port.later(first.attempt, () => this.#send(run, line));
        return;
      }
      first.reject(problem);
    }
    line.waiting.shift();
    this.#waiting -= 1;
    this.#send(run, line);
  }

  #send(run: string, line: Line): void {
    const first = line.waiting[0];
    if (!first || line.sent !== undefined || !this.#port.isOpen) return;
    this.#id += 1;
    const { events, options } = first;
    const producer = { ...this.#producer, sequence: line.sequence };
    const message: ClientMessage = {
      type: "publish",
      id: this.#id,
      run,
      events,
      producer,
      ...options,
    };
    const bytes = new TextEncoder().encode(JSON.stringify(message)).length;
    if (bytes > MESSAGE_BYTES_MAX) {
      first.reject(new RangeError(`a publish of ${bytes} bytes; ${MESSAGE_BYTES_MAX} are allowed`));
      line.waiting.shift();
      this.#waiting -= 1;
      this.#send(run, line);
      return;
    }
    line.sent = this.#id;
    this.#runs.set(this.#id, run);
    this.#port.send(message);
  }
}

function publishedOf(message: ServerMessage): Published {
  const { run, epoch, first, last, stored, duplicates } = message;
  return { run, epoch, first, last, stored, duplicates } as Published;
}
