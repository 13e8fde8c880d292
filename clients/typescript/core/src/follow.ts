/**
 * Follows a run from a cursor to its end, over as many connections as that takes.
 *
 * Promises each event once and in order: doubles are dropped, a hole breaks the connection and is
 * asked for again. Reads no further than its reader does, so that memory is bounded by one chunk.
 * A lost connection is never an end; only the server's word is.
 */

import { type BackoffOptions, backoffDelay, RETRY_MS_MAX } from "./backoff.ts";
import { type Cursor, formatCursor, parseCursor, START } from "./cursor.ts";
import { firstOffset, isTerminal, parseEvent, type RunEvent } from "./event.ts";
import { Heartbeat } from "./heartbeat.ts";
import { NetworkError, ProblemError, ProtocolError } from "./problem.ts";
import { FRAME_CHARS_MAX, type SseFrame, SseParser } from "./sse.ts";

/**
 * Why events cannot be had: they are no longer kept, are damaged on the server's disk, or were lost and
 * perhaps replaced: then a gap's `from` comes next, in its `epoch`.
 */
export type GapReason = "trimmed" | "damaged" | "epoch_changed";

/** Events that this reader does not get. */
export interface Gap {
  readonly from: number;
  readonly to: number;
  readonly reason: GapReason;
  readonly epoch: number;
}

/** What a server gives as a reason; one of a later server means only that the events are gone. */
export function gapReason(reason: unknown): GapReason {
  return reason === "epoch_changed" || reason === "damaged" ? reason : "trimmed";
}

export type FollowItem =
  | { readonly kind: "event"; readonly event: RunEvent; readonly epoch: number }
  | { readonly kind: "gap"; readonly gap: Gap }
  | { readonly kind: "end"; readonly offset: number; readonly type: string | null }
  | { readonly kind: "deleted" };

/** Why nothing more will come. */
export type EndedBecause =
  /** The run has ended and all its events were read. */
  | { readonly reason: "end"; readonly offset: number; readonly type: string | null }
  | { readonly reason: "deleted" }
  /** The reader aborted or left its loop. */
  | { readonly reason: "closed" }
  /** The server refused for good, or broke the contract again and again. */
  | { readonly reason: "failed"; readonly error: ProblemError | ProtocolError };

export type FollowState =
  | { readonly phase: "connecting" }
  /** Events that were there before the connection are still coming. */
  | { readonly phase: "catching_up"; readonly offset: number; readonly target: number | undefined }
  | { readonly phase: "live" }
  /** The server is there and cannot reach its log: nothing new comes, nothing is lost. */
  | { readonly phase: "away" }
  | {
      readonly phase: "reconnecting";
      /** 1 for the first attempt since the last event. */
      readonly attempt: number;
      readonly delay_ms: number;
      readonly error: Error;
    }
  | { readonly phase: "ended"; readonly because: EndedBecause };

/** Which events: any value of each field that is named. All by default. */
export interface Choice {
  /** Types, or with a `*` at the end the beginnings of types. */
  readonly type?: readonly string[];
  readonly channel?: readonly string[];
  readonly variation?: readonly string[];
  /** By name or number. */
  readonly stage?: readonly string[];
  readonly step?: readonly string[];
  readonly agent?: readonly string[];
  /** Adjacent deltas of one message, call or output stream as one event, at the newest offset. */
  readonly coalesce?: boolean;
}

export interface FollowOptions {
  /** A cursor; by default from the first event. */
  readonly after?: string;
  readonly choice?: Choice;
  readonly signal?: AbortSignal;
  readonly fetch?: typeof fetch;
  readonly onState?: (state: FollowState) => void;
  readonly backoff?: Partial<BackoffOptions>;
  /** Silence for this long breaks the connection; the server's heartbeats are more frequent. */
  readonly heartbeat_timeout_ms?: number;
  readonly frame_chars_max?: number;
  /** From 0 to 1, for the jitter. */
  readonly random?: () => number;
}

const BACKOFF: BackoffOptions = { base_ms: 250, max_ms: 10_000 };
const HEARTBEAT_TIMEOUT_MS = 45_000;
/** A connection that lasted this long counts as a success, even without an event. */
const STABLE_MS = 5_000;
/** So often may the server break the contract at one place before the reader is told. */
const PROTOCOL_ERRORS_MAX = 5;

/** Follows the run at an address such as `http://127.0.0.1:7070/v1/runs/my-run`. */
export function follow(url: string | URL, options: FollowOptions = {}): Follow {
  return new Follow(String(url), options);
}

/** What is followed. */
export interface FollowSource {
  /** The address of its event stream. */
  readonly stream: string;
  /** What says how far it is: by its `offset` or its `last`. */
  readonly state: string;
  /** As the rest of a query; empty when it is all events. */
  readonly choice: string;
  /** It is a part of a run's events even when nothing is chosen. */
  readonly isPart?: boolean;
}

function runSource(url: string, options: FollowOptions): FollowSource {
  const state = url.replace(/\/+$/, "");
  return { stream: `${state}/events`, state, choice: choiceQuery(options.choice) };
}

/** One reader of one run, or of the feed. Iterate it once, by items or by `batches()`. */
export class Follow implements AsyncIterable<FollowItem> {
  readonly #source: FollowSource;
  readonly #options: FollowOptions;
  readonly #closing = new AbortController();
  #cursor: Cursor;
  #state: FollowState = { phase: "connecting" };
  #target: number | undefined;
  #attempt = 0;
  #protocolErrors = 0;
  #lastType: string | null = null;
  /** Whether this connection has said anything yet. */
  #isOpening = true;
  /** Whether the last thing that it said was `away`. */
  /** When to come back, if the server has said so. */
  #retryMs: number | undefined;
  #started = false;
  #wake: (() => void) | undefined;

  constructor(url: string, options: FollowOptions, source: FollowSource = runSource(url, options)) {
    const cursor = options.after === undefined ? START : parseCursor(options.after);
    if (!cursor) throw new TypeError(`after: ${JSON.stringify(options.after)} is not a cursor`);
    this.#source = source;
    this.#options = options;
    this.#cursor = cursor;
  }

  get state(): FollowState {
    return this.#state;
  }

  /** Where a later follow can go on: the last event given out. */
  get cursor(): string {
    return formatCursor(this.#cursor);
  }

  /** Ends it; a loop over it ends without an error. */
  close(): void {
    this.#closing.abort();
  }

  /** Cuts the wait of `reconnecting` short. */
  reconnectNow(): void {
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<FollowItem, void, void> {
    for await (const batch of this.batches()) yield* batch;
  }

  /** The items in the groups in which they arrive: for readers of ten thousand a second. */
  async *batches(): AsyncGenerator<FollowItem[], void, void> {
    if (this.#started) throw new TypeError("a Follow can be read once");
    this.#started = true;
    const { signal } = this.#options;
    const stop = signal ? AbortSignal.any([signal, this.#closing.signal]) : this.#closing.signal;
    try {
      while (!stop.aborted && this.#state.phase !== "ended") {
        try {
          yield* this.#connection(stop);
        } catch (error) {
          if (stop.aborted) break;
          await this.#recover(asFailure(error), stop);
        }
      }
    } finally {
      if (this.#state.phase !== "ended") this.#end({ reason: "closed" });
    }
    if (this.#state.phase === "ended" && this.#state.because.reason === "failed") {
      throw this.#state.because.error;
    }
  }

  /** Reads one connection to its end. Returns when the run is over, throws when it broke. */
  async *#connection(stop: AbortSignal): AsyncGenerator<FollowItem[], void, void> {
    const connection = new AbortController();
    const abort = () => connection.abort();
    stop.addEventListener("abort", abort, { once: true });
    const heartbeat = new Heartbeat(this.#heartbeatTimeoutMs(), abort);
    try {
      const body = await heartbeat.during(this.#open(connection.signal));
      if (!body) return;
      const reader = body.getReader();
      const parser = new SseParser(this.#options.frame_chars_max ?? FRAME_CHARS_MAX);
      const openedAt = performance.now();
      for (;;) {
        const { done, value } = await heartbeat.during(reader.read());
        if (done) throw new NetworkError("the connection was closed before the run's end");
        if (performance.now() - openedAt > STABLE_MS) this.#attempt = 0;
        const { items, error } = this.#take(parser.push(value));
        if (items.length > 0) yield items;
        if (error !== undefined) throw error;
        if (this.#isOver()) return;
      }
    } catch (error) {
      if (heartbeat.expired) throw new NetworkError("the server has been silent for too long");
      throw error;
    } finally {
      stop.removeEventListener("abort", abort);
      connection.abort();
    }
  }

  /** Asks for the stream; undefined when there is nothing more to come. */
  async #open(signal: AbortSignal): Promise<ReadableStream<Uint8Array> | undefined> {
    const call = this.#options.fetch ?? fetch;
    this.#target = undefined;
    this.#isOpening = true;
    const { stream, choice } = this.#source;
    const response = await call(`${stream}?after=${this.cursor}${choice}`, {
      headers: { Accept: "text/event-stream" },
      cache: "no-store",
      signal,
    });
    if (response.status === 204) {
      // All was read before; the type is known if it was this reader that read it.
      const type = this.#lastType !== null && isTerminal(this.#lastType) ? this.#lastType : null;
      this.#end({ reason: "end", offset: this.#cursor.offset, type });
      return undefined;
    }
    if (!response.ok) throw await ProblemError.from(response);
    const kind = response.headers.get("Content-Type") ?? "none";
    if (!kind.startsWith("text/event-stream") || !response.body) {
      await response.body?.cancel();
      throw new ProtocolError(`expected text/event-stream, the answer is ${kind}`);
    }
    this.#set({ phase: "catching_up", offset: this.#cursor.offset, target: undefined });
    void this.#findTarget(signal);
    return response.body;
  }

  /** Asks how far the run is, so that "live" is a fact: all from before the connection was read. */
  async #findTarget(signal: AbortSignal): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const target = await this.#askTarget(signal);
      if (signal.aborted || this.#isOver()) return;
      if (target !== undefined) {
        this.#target = target;
        if (this.#state.phase === "catching_up") this.#report();
        return;
      }
      await this.#wait(this.#backoff(attempt), signal);
    }
  }

  /** How far the run is; undefined if the server cannot say now. */
  async #askTarget(signal: AbortSignal): Promise<number | undefined> {
    const call = this.#options.fetch ?? fetch;
    try {
      const headers = { Accept: "application/json" };
      const response = await call(this.#source.state, { headers, cache: "no-store", signal });
      if (response.status >= 500) {
        await response.body?.cancel();
        return undefined;
      }
      const state = (await response.json()) as { offset?: number; last?: number };
      const last = state.offset ?? state.last;
      if (response.ok && typeof last === "number") return last;
    } catch {
      // A broken server breaks the stream too.
    }
    // A run that does not exist has nothing to catch up with.
    return 0;
  }

  /** What frames say, up to the first that breaks the contract: what came before it counts. */
  #take(frames: SseFrame[]): { items: FollowItem[]; error?: unknown } {
    const items: FollowItem[] = [];
    let broken: { error?: unknown } = {};
    for (const frame of frames) {
      if (this.#isOver()) break;
      try {
        const item = this.#item(frame);
        if (item) items.push(item);
      } catch (error) {
        broken = { error };
        break;
      }
    }
    if (items.length > 0) {
      this.#attempt = 0;
      this.#protocolErrors = 0;
    }
    if (this.#state.phase === "catching_up") this.#report();
    return { items, ...broken };
  }

  #item(frame: SseFrame): FollowItem | undefined {
    const { data, id, retry_ms } = frame;
    // What opens a stream is for an `EventSource`, which has no backoff of its own; a later one is
    // the server's word at its end, so that not all come back at once.
    if (!this.#isOpening && retry_ms !== undefined) this.#retryMs = retry_ms;
    this.#isOpening = false;
    this.#listen(frame);
    if (data === undefined) {
      this.#pass(id);
      return undefined;
    }
    switch (frame.event) {
      case "gap":
        return this.#gap(data);
      case "end": {
        const end = object(data);
        const offset = typeof end.offset === "number" ? end.offset : this.#cursor.offset;
        const type = typeof end.type === "string" ? end.type : null;
        if (offset > this.#cursor.offset) throw new ProtocolError("the end came before its event");
        this.#end({ reason: "end", offset, type });
        return { kind: "end", offset, type };
      }
      case "deleted":
        this.#end({ reason: "deleted" });
        return { kind: "deleted" };
      case "message":
        return this.#event(data, id);
      default:
        // `away`, or the word of a later server.
        return undefined;
    }
  }

  /** Takes note of whether the server reaches its log. */
  #listen({ event }: SseFrame): void {
    if (event !== "away") {
      if (this.#state.phase === "away") this.#report();
    } else if (this.#state.phase !== "away") {
      this.#set({ phase: "away" });
    }
  }

  /** Moves the cursor past events that were not chosen. */
  #pass(id: string): void {
    const at = parseCursor(id);
    if (!at || at.epoch < this.#cursor.epoch) return;
    if (at.epoch > this.#cursor.epoch || at.offset > this.#cursor.offset) this.#cursor = at;
  }

  #event(data: string, id: string): FollowItem | undefined {
    const event = parseEvent(data);
    const at = parseCursor(id);
    if (!event || !at || at.offset !== event.offset) {
      throw new ProtocolError(`what came after ${this.cursor} is not an event`);
    }
    // A newer epoch may share what was read before; then it goes on without a gap.
    if (at.epoch < this.#cursor.epoch) {
      throw new ProtocolError(`epoch ${at.epoch} came after ${this.cursor}`);
    }
    if (at.offset <= this.#cursor.offset) return undefined;
    // Only a reader of all events knows that one is missing.
    const { choice, isPart } = this.#source;
    if (choice === "" && !isPart && firstOffset(event) !== this.#cursor.offset + 1) {
      throw new ProtocolError(`${id} came after ${this.cursor}: events are missing`);
    }
    this.#cursor = at;
    this.#lastType = event.type;
    return { kind: "event", event, epoch: at.epoch };
  }

  #gap(data: string): FollowItem {
    const { from, to, reason, epoch } = object(data);
    if (!isOffset(from) || !isOffset(to)) throw new ProtocolError("a gap has no ends");
    if (reason === "epoch_changed") {
      if (!isOffset(epoch) || from < 1) throw new ProtocolError("a gap has no epoch");
      this.#cursor = { epoch, offset: from - 1 };
      return { kind: "gap", gap: { from, to, reason, epoch } };
    }
    const now = isOffset(epoch) ? Math.max(epoch, this.#cursor.epoch) : this.#cursor.epoch;
    this.#cursor = { epoch: now, offset: Math.max(to, this.#cursor.offset) };
    return { kind: "gap", gap: { from, to, reason: gapReason(reason), epoch: now } };
  }

  async #recover(error: Error, stop: AbortSignal): Promise<void> {
    if (error instanceof ProblemError && !error.isTransient) {
      if (error.code === "run_deleted") this.#end({ reason: "deleted" });
      else this.#end({ reason: "failed", error });
      return;
    }
    if (error instanceof ProtocolError) {
      this.#protocolErrors += 1;
      if (this.#protocolErrors >= PROTOCOL_ERRORS_MAX) {
        this.#end({ reason: "failed", error });
        return;
      }
    }
    this.#attempt += 1;
    const delay = this.#delay();
    this.#set({ phase: "reconnecting", attempt: this.#attempt, delay_ms: delay, error });
    await this.#wait(delay, stop);
  }

  #delay(): number {
    const told = this.#retryMs;
    this.#retryMs = undefined;
    return told === undefined ? this.#backoff(this.#attempt) : Math.min(told, RETRY_MS_MAX);
  }

  #backoff(attempt: number): number {
    const backoff = { ...BACKOFF, ...this.#options.backoff };
    return backoffDelay(attempt, backoff, (this.#options.random ?? Math.random)());
  }

  #wait(delayMs: number, stop: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const finish = () => {
        clearTimeout(timer);
        stop.removeEventListener("abort", finish);
        this.#wake = undefined;
        resolve();
      };
      const timer = setTimeout(finish, delayMs);
      stop.addEventListener("abort", finish, { once: true });
      this.#wake = finish;
    });
  }

  #heartbeatTimeoutMs(): number {
    return this.#options.heartbeat_timeout_ms ?? HEARTBEAT_TIMEOUT_MS;
  }

  #isOver(): boolean {
    return this.#state.phase === "ended";
  }

  #report(): void {
    const target = this.#target;
    if (target !== undefined && this.#cursor.offset >= target) this.#set({ phase: "live" });
    else this.#set({ phase: "catching_up", offset: this.#cursor.offset, target });
  }

  #end(because: EndedBecause): void {
    this.#set({ phase: "ended", because });
  }

  #set(state: FollowState): void {
    this.#state = state;
    this.#options.onState?.(state);
  }
}

/** A choice as the rest of a query. */
export function choiceQuery(choice: Choice = {}): string {
  const { coalesce, ...fields } = choice;
  return fieldsQuery(fields) + (coalesce ? "&coalesce=1" : "");
}

/** Repeated fields as the rest of a query. */
export function fieldsQuery(fields: Readonly<Record<string, readonly string[]>>): string {
  const query = new URLSearchParams();
  for (const [name, values] of Object.entries(fields)) {
    for (const value of values) query.append(name, value);
  }
  const pairs = query.toString();
  return pairs && `&${pairs}`;
}

function asFailure(error: unknown): Error {
  const known =
    error instanceof ProblemError ||
    error instanceof ProtocolError ||
    error instanceof NetworkError;
  return known ? error : new NetworkError("the server was not reached", { cause: error });
}

function object(json: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(json);
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // Falls through to the one error.
  }
  throw new ProtocolError("a special frame's data is not an object");
}

function isOffset(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
