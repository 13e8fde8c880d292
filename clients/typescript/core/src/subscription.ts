/**
 * One run on a shared WebSocket: the same items and states as a `Follow`.
 *
 * Promises each event once and in order over as many connections as that takes. A WebSocket cannot
 * be read slower, so a reader that lags is unsubscribed when its buffer is full, and subscribed again
 * from its cursor when it has taken everything: memory is bounded.
 */

import { type Cursor, formatCursor, parseCursor, START } from "./cursor.ts";
import { firstOffset, toEvent } from "./event.ts";
import {
  type Choice,
  type EndedBecause,
  type FollowItem,
  type FollowState,
  gapReason,
} from "./follow.ts";
import type { ClientMessage, ServerMessage } from "./message.ts";
import { ProblemError, ProtocolError } from "./problem.ts";

export interface SubscriptionOptions {
  /** A cursor; by default from the first event. */
  readonly after?: string;
  readonly choice?: Choice;
  readonly signal?: AbortSignal;
  readonly onState?: (state: FollowState) => void;
  /** Items that wait for the reader before the server is asked to pause; by default 10,000. */
  readonly buffer_items_max?: number;
}

/** What a subscription needs of its connection. */
export interface Port {
  /** Sends now, if there is a connection. */
  send(message: ClientMessage): void;
  readonly isOpen: boolean;
  /** Calls back after a backoff, if there is still a connection then. */
  later(attempt: number, again: () => void): number;
  /** The subscription needs the connection no more. */
  ended(subscription: Subscription): void;
}

/** How the server sees it. */
type Wire = "off" | "asked" | "on" | "leaving";

const BUFFER_ITEMS_MAX = 10_000;
/** So often may the server break the contract before the reader is told. */
const PROTOCOL_ERRORS_MAX = 5;

/** One reader of one run. Iterate it once, by items or by `batches()`. */
export class Subscription implements AsyncIterable<FollowItem> {
  readonly run: string;
  readonly #options: SubscriptionOptions;
  readonly #port: Port;
  readonly #isWhole: boolean;
  #cursor: Cursor;
  #state: FollowState = { phase: "connecting" };
  #wire: Wire = "off";
  #target = 0;
  #items: FollowItem[] = [];
  #wake: (() => void) | undefined;
  #started = false;
  /** The buffer was full: the reader has to take everything first. */
  #isPaused = false;
  #attempt = 0;
  #protocolErrors = 0;

  constructor(run: string, port: Port, options: SubscriptionOptions) {
    const cursor = options.after === undefined ? START : parseCursor(options.after);
    if (!cursor) throw new TypeError(`after: ${JSON.stringify(options.after)} is not a cursor`);
    this.run = run;
    this.#port = port;
    this.#options = options;
    this.#cursor = cursor;
    const { coalesce, filter } = ask(options.choice);
    this.#isWhole = !coalesce && filter === undefined;
    options.signal?.addEventListener("abort", this.#abort, { once: true });
    if (options.signal?.aborted) this.close();
  }

  get state(): FollowState {
    return this.#state;
  }

  /** Where the server's messages have come to; a later follow can go on behind what was given out. */
  get cursor(): string {
    return formatCursor(this.#cursor);
  }

  /** Ends it; a loop over it ends without an error. */
  close(): void {
    if (this.#isOver()) return;
    this.#items = [];
    this.#end({ reason: "closed" });
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<FollowItem, void, void> {
    for await (const batch of this.batches()) yield* batch;
  }

  /** The items in the groups in which they arrive. */
  async *batches(): AsyncGenerator<FollowItem[], void, void> {
    if (this.#started) throw new TypeError("a Subscription can be read once");
    this.#started = true;
    try {
      for (;;) {
        if (this.#items.length > 0) {
          const items = this.#items;
          this.#items = [];
          yield items;
          if (this.#items.length === 0) this.#isPaused = false;
          this.#resume();
        } else if (this.#state.phase === "ended") {
          if (this.#state.because.reason === "failed") throw this.#state.because.error;
          return;
        } else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
          this.#wake = undefined;
        }
      }
    } finally {
      this.close();
    }
  }

  /** @internal There is a connection. */
  opened(): void {
    this.#wire = "off";
    this.#resume();
  }

  /** @internal There is none any more. */
  lost(attempt: number, delayMs: number, error: Error): void {
    this.#wire = "off";
    this.#set({ phase: "reconnecting", attempt, delay_ms: delayMs, error });
  }

  /** @internal The server says that it cannot reach its log. */
  away(): void {
    const isAsked = this.#wire === "on" || this.#wire === "asked";
    if (isAsked && this.#state.phase !== "away") this.#set({ phase: "away" });
  }

  /** @internal It reaches it again. */
  back(): void {
    if (this.#state.phase !== "away") return;
    if (this.#wire === "on") this.#report();
    else this.#set({ phase: "connecting" });
  }

  /** @internal There will never be one again. */
  failed(error: ProblemError | ProtocolError): void {
    this.#wire = "off";
    this.#end({ reason: "failed", error });
  }

  /** @internal The server has said something about the run. */
  take(message: ServerMessage): void {
    if (message.type === "unsubscribed") {
      if (this.#wire === "leaving") {
        this.#wire = "off";
        this.#resume();
      }
      return;
    }
    if (message.type === "subscribed") {
      if (this.#wire !== "asked") return;
      this.#wire = "on";
      this.#target = parseCursor(text(message.last))?.offset ?? 0;
      this.#report();
      return;
    }
    if (message.type === "error" && this.#wire !== "leaving") {
      this.#refused(problemOf(message));
      return;
    }
    // What was on its way while the subscription was left or asked for again.
    if (this.#wire !== "on") return;
    try {
      this.#read(message);
      this.#protocolErrors = 0;
      this.#attempt = 0;
      if (!this.#isOver()) this.#report();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#broken(error);
    }
    if (this.#items.length > (this.#options.buffer_items_max ?? BUFFER_ITEMS_MAX)) {
      this.#isPaused = true;
      this.#leave();
    }
    if (this.#items.length > 0 || this.#isOver()) this.#wake?.();
  }

  #read(message: ServerMessage): void {
    switch (message.type) {
      case "events": {
        if (!Array.isArray(message.events)) throw new ProtocolError("events are no list");
        const at = cursorOf(message);
        for (const value of message.events) this.#event(value, at.epoch);
        this.#pass(at);
        return;
      }
      case "cursor":
        this.#pass(cursorOf(message));
        return;
      case "gap":
        this.#gap(message);
        return;
      case "end": {
        const at = cursorOf(message);
        if (at.offset > this.#cursor.offset && this.#isWhole) {
          throw new ProtocolError("the end came before its event");
        }
        const type = typeof message.event_type === "string" ? message.event_type : null;
        this.#items.push({ kind: "end", offset: at.offset, type });
        this.#wire = "off";
        this.#end({ reason: "end", offset: at.offset, type });
        return;
      }
      case "deleted":
        this.#items.push({ kind: "deleted" });
        this.#wire = "off";
        this.#end({ reason: "deleted" });
    }
  }

  #event(value: unknown, epoch: number): void {
    const event = toEvent(value);
    if (!event) throw new ProtocolError(`what came after ${this.cursor} is not an event`);
    if (epoch < this.#cursor.epoch) {
      throw new ProtocolError(`epoch ${epoch} came after ${this.cursor}`);
    }
    if (event.offset <= this.#cursor.offset) return;
    if (this.#isWhole && firstOffset(event) !== this.#cursor.offset + 1) {
      throw new ProtocolError(`${event.offset} came after ${this.cursor}: events are missing`);
    }
    this.#cursor = { epoch, offset: event.offset };
    this.#items.push({ kind: "event", event, epoch });
  }

  /** Moves the cursor past events that were not chosen. */
  #pass(at: Cursor): void {
    const { epoch, offset } = this.#cursor;
    if (at.epoch < epoch || (at.epoch === epoch && at.offset < offset)) return;
    if (this.#isWhole && at.offset !== offset) {
      throw new ProtocolError(`${formatCursor(at)} came after ${this.cursor}: events are missing`);
    }
    this.#cursor = at;
  }

  #gap(message: ServerMessage): void {
    const { from, to, reason } = (message.gap ?? {}) as Record<string, unknown>;
    const at = cursorOf(message);
    if (typeof from !== "number" || typeof to !== "number") {
      throw new ProtocolError("a gap has no ends");
    }
    this.#cursor = at;
    const gap = { from, to, reason: gapReason(reason), epoch: at.epoch };
    this.#items.push({ kind: "gap", gap });
  }

  #refused(problem: ProblemError): void {
    this.#wire = "off";
    if (problem.isTransient) {
      this.#attempt += 1;
      const attempt = this.#attempt;
      const delay = this.#port.later(attempt, () => this.#resume());
      this.#set({ phase: "reconnecting", attempt, delay_ms: delay, error: problem });
    } else if (problem.code === "run_deleted") this.#end({ reason: "deleted" });
    else this.#end({ reason: "failed", error: problem });
  }

  #broken(error: ProtocolError): void {
    this.#protocolErrors += 1;
    if (this.#protocolErrors >= PROTOCOL_ERRORS_MAX) this.#end({ reason: "failed", error });
    else this.#leave();
  }

  /** Asks the server to say no more; what comes until it agrees is not read. */
  #leave(): void {
    if (this.#wire !== "on") return;
    this.#wire = "leaving";
    this.#port.send({ type: "unsubscribe", run: this.run });
  }

  /** Subscribes from the cursor, if that is what is missing. */
  #resume(): void {
    if (this.#wire !== "off" || this.#isPaused || this.#isOver() || !this.#port.isOpen) return;
    this.#wire = "asked";
    const asked = ask(this.#options.choice);
    this.#port.send({ type: "subscribe", run: this.run, after: this.cursor, ...asked });
  }

  readonly #abort = (): void => this.close();

  #isOver(): boolean {
    return this.#state.phase === "ended";
  }

  #report(): void {
    const { offset } = this.#cursor;
    const target = this.#target;
    if (offset < target) this.#set({ phase: "catching_up", offset, target });
    else if (this.#state.phase !== "live") this.#set({ phase: "live" });
  }

  #end(because: EndedBecause): void {
    if (this.#isOver()) return;
    const isKnown = this.#wire === "on" || this.#wire === "asked";
    this.#wire = "off";
    if (isKnown) this.#port.send({ type: "unsubscribe", run: this.run });
    this.#options.signal?.removeEventListener("abort", this.#abort);
    this.#set({ phase: "ended", because });
    this.#port.ended(this);
    this.#wake?.();
  }

  #set(state: FollowState): void {
    this.#state = state;
    this.#options.onState?.(state);
  }
}

/** A choice as the protocol has it. */
function ask(choice: Choice = {}): {
  filter?: Record<string, readonly string[]>;
  coalesce?: boolean;
} {
  const { coalesce, ...fields } = choice;
  const named = Object.entries(fields).filter(([, values]) => values && values.length > 0);
  return {
    ...(named.length > 0 && { filter: Object.fromEntries(named) }),
    ...(coalesce && { coalesce }),
  };
}

function cursorOf(message: ServerMessage): Cursor {
  const cursor = parseCursor(text(message.cursor));
  if (!cursor) throw new ProtocolError("a message has no cursor");
  return cursor;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** The problem that an `error` message carries. */
export function problemOf(message: ServerMessage): ProblemError {
  const members = (message.problem ?? {}) as Record<string, unknown>;
  return new ProblemError(typeof members.status === "number" ? members.status : 400, members);
}
