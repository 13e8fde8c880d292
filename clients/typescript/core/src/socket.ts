/**
 * One WebSocket for many runs, over as many connections as that takes.
 *
 * Owns the connection: opens it when it is first needed, notices silence, comes back as the close
 * code says, and then has every subscription go on from its cursor and every publish that was not
 * answered sent again.
 */

import { type BackoffOptions, backoffDelay } from "./backoff.ts";
import { decideClose } from "./close.ts";
import { type ClientMessage, parseMessage, type ServerMessage, SUBPROTOCOL } from "./message.ts";
import { NetworkError, ProtocolError } from "./problem.ts";
import {
  type EventDraft,
  type Producer,
  type Published,
  Publisher,
  type PublishOptions,
} from "./publisher.ts";
import { Subscription, type SubscriptionOptions } from "./subscription.ts";

/** What is used of a browser's `WebSocket`, or of that of the package `ws`. */
export interface WebSocketLike {
  send(data: string): void;
  close(code?: number, reason?: string): void;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
}

export type WebSocketConstructor = new (url: string, protocols: string) => WebSocketLike;

export type SocketState =
  /** Nothing has needed a connection yet. */
  | { readonly phase: "idle" }
  | { readonly phase: "connecting" }
  | { readonly phase: "open" }
  | {
      readonly phase: "reconnecting";
      readonly attempt: number;
      readonly delay_ms: number;
      readonly error: Error;
    }
  /** By `close()`, or because the server will not have this client. */
  | { readonly phase: "closed"; readonly error: ProtocolError | NetworkError | undefined };

export interface SocketOptions {
  /** Where the server is, `http:` or `ws:`; by default the page's own origin. */
  readonly url?: string;
  /** By default the global one, which Node has from version 22 on. */
  readonly WebSocket?: WebSocketConstructor;
  readonly producer?: Producer;
  readonly onState?: (state: SocketState) => void;
  readonly backoff?: Partial<BackoffOptions>;
  /**
   * The server is asked whether it is there after this much silence; by default 15 s, which is the
   * server's heartbeat by default.
   */
  readonly ping_ms?: number;
  /** Silence for this long breaks the connection; by default 45 s. */
  readonly heartbeat_timeout_ms?: number;
  /** From 0 to 1, for the jitter. */
  readonly random?: () => number;
}

/** What the server cannot say without its log. */
const FROM_LOG = new Set(["subscribed", "events", "cursor", "gap", "end", "deleted", "published"]);
/** Heartbeats without the word that the log is away, after which it is not. */
const AWAY_HEARTBEATS = 2;
const BACKOFF: BackoffOptions = { base_ms: 250, max_ms: 10_000 };
const PING_MS = 15_000;
const HEARTBEAT_TIMEOUT_MS = 45_000;

export class RuncastSocket {
  readonly #options: SocketOptions;
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #publisher: Publisher;
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #socket: WebSocketLike | undefined;
  #state: SocketState = { phase: "idle" };
  #attempt = 0;
  #heardAt = 0;
  /** Set while the server says that its log is away. */
  #awayTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: SocketOptions = {}) {
    this.#options = options;
    const producer = options.producer ?? { id: `prd_${crypto.randomUUID()}`, epoch: 0 };
    this.#publisher = new Publisher(this.#port, producer);
  }

  get state(): SocketState {
    return this.#state;
  }

  /** Follows a run, now or when it begins; one reader a run. */
  follow(run: string, options: SubscriptionOptions = {}): Subscription {
    if (this.#subscriptions.has(run)) throw new TypeError(`${run} is followed already`);
    const subscription = new Subscription(run, this.#port, options);
    if (subscription.state.phase === "ended") return subscription;
    this.#subscriptions.set(run, subscription);
    if (this.#state.phase === "closed") subscription.failed(closedError());
    else if (this.#state.phase === "open") subscription.opened();
    else this.#connect();
    return subscription;
  }

  /** Appends events, in order, each once; resolves when they are durable. */
  publish(
    run: string,
    events: readonly EventDraft[],
    options: PublishOptions = {},
  ): Promise<Published> {
    if (this.#state.phase === "closed") return Promise.reject(closedError());
    this.#connect();
    return this.#publisher.publish(run, events, options);
  }

  /** Cuts the wait of `reconnecting` short. */
  reconnectNow(): void {
    if (this.#state.phase === "reconnecting") this.#open();
  }

  /** Ends the connection and everything on it. */
  close(): void {
    if (this.#state.phase === "closed") return;
    for (const subscription of [...this.#subscriptions.values()]) subscription.close();
    this.#publisher.failed(new NetworkError("the socket was closed"));
    this.#drop()?.close(1000);
    this.#set({ phase: "closed", error: undefined });
  }

  /** What subscriptions and publishes use of the connection. */
  readonly #port = {
    send: (message: ClientMessage): void => this.#send(message),
    isOpen: false,
    later: (attempt: number, again: () => void): number => {
      const delay = this.#delay(attempt);
      this.#after(delay, again);
      return delay;
    },
    ended: (subscription: Subscription): void => {
      if (this.#subscriptions.get(subscription.run) === subscription) {
        this.#subscriptions.delete(subscription.run);
      }
    },
  };

  #send(message: ClientMessage): void {
    if (this.#port.isOpen) this.#socket?.send(JSON.stringify(message));
  }

  #connect(): void {
    if (this.#state.phase === "idle") this.#open();
  }

  #open(): void {
    this.#clearTimers();
    const global = globalThis as { WebSocket?: WebSocketConstructor };
    const Constructor = this.#options.WebSocket ?? global.WebSocket;
    if (!Constructor) throw new TypeError("there is no WebSocket here: pass one in the options");
    this.#set({ phase: "connecting" });
    const socket = new Constructor(address(this.#options.url), SUBPROTOCOL);
    this.#socket = socket;
    socket.onopen = () => this.#opened();
    socket.onmessage = (event: { data: unknown }) => this.#message(event.data);
    socket.onclose = (event: { code: number; reason: string }) =>
      this.#closed(event.code, event.reason);
    // A close follows it, and says more.
    socket.onerror = () => {};
  }

  #opened(): void {
    this.#port.isOpen = true;
    this.#heardAt = performance.now();
    this.#set({ phase: "open" });
    this.#beat();
    for (const subscription of this.#subscriptions.values()) subscription.opened();
    this.#publisher.opened();
  }

  /** Asks a silent server whether it is there, and gives it up if it stays silent. */
  #beat(): void {
    const { ping_ms = PING_MS, heartbeat_timeout_ms = HEARTBEAT_TIMEOUT_MS } = this.#options;
    this.#after(Math.min(ping_ms, heartbeat_timeout_ms), () => {
      const silence = performance.now() - this.#heardAt;
      if (silence >= heartbeat_timeout_ms) {
        this.#drop()?.close();
        this.#retry(new NetworkError("the server has been silent for too long"), undefined);
        return;
      }
      if (silence >= ping_ms) this.#send({ type: "ping" });
      this.#beat();
    });
  }

  #message(data: unknown): void {
    this.#heardAt = performance.now();
    let message: ServerMessage;
    try {
      message = parseMessage(data);
    } catch (error) {
      this.#fail(error as ProtocolError, 4000);
      return;
    }
    // The server has answered: a connection that only opens and breaks goes on backing off.
    this.#attempt = 0;
    if (message.type === "away") this.#away();
    else if (FROM_LOG.has(message.type)) this.#back();
    if (message.type === "published" || (message.type === "error" && message.id !== undefined)) {
      this.#publisher.take(message);
    } else if (typeof message.run === "string") {
      this.#subscriptions.get(message.run)?.take(message);
    }
  }

  /** A heartbeat without `away` cannot be seen: that none comes any more has to say it. */
  #away(): void {
    clearTimeout(this.#awayTimer);
    const { ping_ms = PING_MS } = this.#options;
    this.#awayTimer = setTimeout(() => this.#back(), AWAY_HEARTBEATS * ping_ms);
    for (const subscription of this.#subscriptions.values()) subscription.away();
  }

  #back(): void {
    if (this.#awayTimer === undefined) return;
    clearTimeout(this.#awayTimer);
    this.#awayTimer = undefined;
    for (const subscription of this.#subscriptions.values()) subscription.back();
  }

  #closed(code: number, reason: string): void {
    this.#drop();
    const decision = decideClose(code, reason);
    const said = reason === "" ? `${code}` : `${code}: ${reason}`;
    if (decision.reconnect) {
      this.#retry(new NetworkError(`the connection was closed with ${said}`), decision.retry_ms);
    } else {
      this.#fail(new ProtocolError(`the server closed for good with ${said}`), undefined);
    }
  }

  #retry(error: NetworkError, retryMs: number | undefined): void {
    this.#attempt += 1;
    const attempt = this.#attempt;
    const delay = retryMs ?? this.#delay(attempt);
    this.#publisher.lost();
    this.#set({ phase: "reconnecting", attempt, delay_ms: delay, error });
    for (const subscription of this.#subscriptions.values()) {
      subscription.lost(attempt, delay, error);
    }
    this.#after(delay, () => this.#open());
  }

  #fail(error: ProtocolError, code: number | undefined): void {
    this.#drop()?.close(code);
    this.#set({ phase: "closed", error });
    for (const subscription of [...this.#subscriptions.values()]) subscription.failed(error);
    this.#publisher.failed(error);
  }

  /** Lets go of the connection, whose later words do not count. */
  #drop(): WebSocketLike | undefined {
    this.#clearTimers();
    const socket = this.#socket;
    this.#socket = undefined;
    this.#port.isOpen = false;
    if (socket) {
      socket.onopen = null;
      socket.onmessage = null;
      socket.onclose = null;
    }
    return socket;
  }

  #delay(attempt: number): number {
    const backoff = { ...BACKOFF, ...this.#options.backoff };
    return backoffDelay(attempt, backoff, (this.#options.random ?? Math.random)());
  }

  #after(delayMs: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, delayMs);
    this.#timers.add(timer);
  }

  #clearTimers(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    clearTimeout(this.#awayTimer);
    this.#awayTimer = undefined;
  }

  #set(state: SocketState): void {
    this.#state = state;
    this.#options.onState?.(state);
  }
}

function closedError(): ProtocolError {
  return new ProtocolError("the socket was closed");
}

/** The WebSocket's address at a server such as `http://127.0.0.1:7070`. */
function address(url: string | undefined): string {
  const base = url ?? globalThis.location?.origin ?? "";
  return `${base.replace(/\/+$/, "").replace(/^http/i, "ws")}/v1/ws`;
}
