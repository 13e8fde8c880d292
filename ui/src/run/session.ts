/**
 * One run in one page: its state, its log, its connection.
 *
 * Begins with the run's state and follows from near its end; the rest is loaded as it is looked at.
 * Live events are applied once a frame within a budget of time; when they come faster for long, the
 * page lets go of those in between (they are loaded when looked at) and begins again at the end.
 */

import {
  backoffDelay,
  type Client,
  type CommandDraft,
  type Follow,
  type FollowItem,
  type FollowState,
  formatCursor,
  type Gap,
  type Input,
  isTerminal,
  ProblemError,
  type RunState,
} from "@runcast/core";
import { EVERYTHING, type LogFilter, queryOf } from "../log/filter.ts";
import { Loader } from "../log/loader.ts";
import { PAGE_EVENTS, Pages } from "../log/pages.ts";
import { Search } from "../log/search.ts";
import { Frame } from "../view/frame.ts";
import { signature } from "../view/person.ts";

export type Subject =
  | { readonly kind: "opening" }
  /** Nothing has happened yet under this id: the page waits for the first event. */
  | { readonly kind: "awaited" }
  | { readonly kind: "run"; readonly run: RunState }
  | { readonly kind: "deleted"; readonly run: RunState | undefined }
  | { readonly kind: "refused"; readonly message: string };

/** So many events may wait to be applied; then the connection is not read. */
const QUEUE_MAX = 2_000;
/** Applying events may take so much of a frame. */
const APPLY_MS = 8;
/** The clock is asked once in so many events. */
const APPLY_STEP = 64;
/** Events come too fast for so long, and the page looks how far behind it is. */
const SATURATED_MS = 1_000;
/** Further behind than this it begins again at the end. */
const BEHIND_EVENTS_MAX = 20_000;
/** The state is asked for again so long after an event that sets where the run stands. */
const REFRESH_MS = 100;
/** And so long after one that tells of its work, of which there may be many. */
const WORK_REFRESH_MS = 500;
/** And so long after a piece of a text, which the log shows anyhow. */
const TEXT_REFRESH_MS = 2_000;
/** Of the time, getting and drawing states may take one part in so many. */
const REFRESH_SHARE = 5;
const RETRY = { base_ms: 250, max_ms: 5_000 };

export class RunSession {
  readonly id: string;
  readonly pages = new Pages();
  search: Search | undefined;
  subject: Subject = { kind: "opening" };
  connection: FollowState = { phase: "connecting" };
  readonly #client: Client;
  readonly #listeners = new Set<() => void>();
  readonly #stop = new AbortController();
  readonly #frame = new Frame(() => this.#apply());
  readonly #loader: Loader;
  #follow: Follow | undefined;
  #epoch = 1;
  #queue: FollowItem[] = [];
  #drained: (() => void) | undefined;
  #saturatedSince: number | undefined;
  #refreshTimer: ReturnType<typeof setTimeout> | undefined;
  #refreshAt = 0;
  #refreshNotBefore = 0;
  #isRefreshing = false;
  #refreshFailures = 0;
  /** What happened while the state was asked for wants it again, so long after. */
  #dueMs: number | undefined;
  #wakeRetry: (() => void) | undefined;

  constructor(client: Client, id: string) {
    this.#client = client;
    this.id = id;
    this.#loader = new Loader((page, signal) => this.#loadPage(page, signal));
    this.pages.onWant = (missing) => this.#loader.want(missing);
  }

  /** Begins; ends with `close()`. */
  start(): void {
    addEventListener("online", this.reconnectNow);
    void this.#run();
  }

  close(): void {
    removeEventListener("online", this.reconnectNow);
    this.#stop.abort();
    this.#frame.close();
    this.#loader.close();
    this.search?.close();
    this.#drained?.();
    this.#wakeRetry?.();
    clearTimeout(this.#refreshTimer);
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  readonly reconnectNow = (): void => {
    this.#follow?.reconnectNow();
    this.#wakeRetry?.();
  };

  /** Shows only the events that a filter lets through. */
  filter(filter: LogFilter): void {
    const query = queryOf(filter);
    if (query === queryOf(this.search?.filter ?? EVERYTHING)) return;
    this.search?.close();
    this.search = undefined;
    if (query !== "") {
      this.search = new Search(filter, () => this.#frame.request());
      void this.search.run(this.#client, this.id, this.#epoch, () => this.pages.last);
    }
    this.#frame.request();
  }

  /** Asks the run for something: the same once, however often it is sent with this key. */
  readonly ask = async (command: CommandDraft): Promise<void> => {
    await this.#client.command(this.id, { ...command, ...signature() }, this.#stop.signal);
    this.#refreshSoon(0);
  };

  /** Answers what the run asks. */
  readonly answer = async (input: string, answer: unknown): Promise<Input> => {
    try {
      const said = { answer, ...signature() };
      return await this.#client.answer(this.id, input, said, this.#stop.signal);
    } finally {
      this.#refreshSoon(0);
    }
  };

  /** The events themselves, whole, as JSON to read. */
  async whole(first: number, last: number, signal: AbortSignal): Promise<unknown[]> {
    const after = formatCursor({ epoch: this.#epoch, offset: first - 1 });
    const limit = Math.min(last - first + 1, 100);
    const page = await this.#client.page(this.id, { after, limit, signal });
    return page.events.filter((event) => event.offset <= last);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    for (let failures = 0; !signal.aborted; ) {
      try {
        const after = await this.#begin();
        failures = 0;
        if (after === undefined) return;
        if ((await this.#read(after)) === "over") return;
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ProblemError && !error.isTransient) {
          this.#refuse(error);
          return;
        }
        failures += 1;
        const delay = backoffDelay(failures, RETRY, Math.random());
        const cause = error instanceof Error ? error : new Error(String(error));
        this.#connected({
          phase: "reconnecting",
          attempt: failures,
          delay_ms: delay,
          error: cause,
        });
        await this.#wait(delay);
      }
    }
  }

  /** Takes the run's state, and says from where to follow. */
  async #begin(): Promise<string | undefined> {
    let run: RunState;
    try {
      run = await this.#client.get(this.id, this.#stop.signal);
    } catch (error) {
      if (!(error instanceof ProblemError) || error.code !== "run_not_found") throw error;
      this.#become({ kind: "awaited" });
      return "0";
    }
    if (run.epoch !== this.#epoch && this.pages.last > 0) {
      this.pages.rewind(1, "The run's history was replaced");
    }
    this.#epoch = run.epoch;
    this.pages.startedAt = run.started_at;
    this.pages.setRange(run.first_offset, run.offset);
    this.#become({ kind: "run", run });
    // A whole page before the last one, so that there is enough for a view.
    const page = Math.max(0, Math.floor((run.offset - 1) / PAGE_EVENTS) - 1);
    const from = Math.max(page * PAGE_EVENTS, run.first_offset - 1, 0);
    return formatCursor({ epoch: run.epoch, offset: from });
  }

  /** Reads live events until the run is over or the page is too far behind. */
  async #read(after: string): Promise<"over" | "behind"> {
    const behind = new AbortController();
    const follow = this.#client.follow(this.id, {
      after,
      signal: AbortSignal.any([this.#stop.signal, behind.signal]),
      onState: (state) => {
        if (!behind.signal.aborted) this.#connected(state);
      },
    });
    this.#follow = follow;
    for await (const batch of follow.batches()) {
      for (const item of batch) this.#queue.push(item);
      this.#frame.request();
      if (this.#queue.length < QUEUE_MAX) continue;
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
      if (await this.#isFarBehind(follow)) {
        behind.abort();
        this.#queue = [];
        return "behind";
      }
    }
    return "over";
  }

  async #isFarBehind(follow: Follow): Promise<boolean> {
    const now = performance.now();
    this.#saturatedSince ??= now;
    if (now - this.#saturatedSince < SATURATED_MS) return false;
    this.#saturatedSince = undefined;
    const run = await this.#client.get(this.id, this.#stop.signal).catch(() => undefined);
    const read = Number(follow.cursor.split(".").at(-1));
    return run !== undefined && run.offset - read > BEHIND_EVENTS_MAX;
  }

  #apply(): void {
    const until = performance.now() + APPLY_MS;
    let at = 0;
    while (at < this.#queue.length) {
      const item = this.#queue[at];
      at += 1;
      if (item) this.#take(item);
      if (at % APPLY_STEP === 0 && performance.now() > until) break;
    }
    this.#queue.splice(0, at);
    // Also when no view asks for it: what is loaded stays bounded.
    this.pages.refresh();
    if (this.#queue.length > 0) this.#frame.request();
    else if (!this.#drained) this.#saturatedSince = undefined;
    if (this.#queue.length < QUEUE_MAX / 2) {
      this.#drained?.();
      this.#drained = undefined;
    }
    this.#notify();
  }

  #take(item: FollowItem): void {
    switch (item.kind) {
      case "event":
        this.#epoch = item.epoch;
        this.pages.add(item.event);
        this.search?.live(item.event);
        this.#refreshAfter(item.event.type);
        return;
      case "gap":
        this.#epoch = item.gap.epoch;
        this.#gap(item.gap);
        this.#refreshSoon(0);
        return;
      case "deleted":
        this.#deleted();
        return;
      case "end":
        this.#refreshSoon(0);
    }
  }

  #gap({ from, to, reason }: Gap): void {
    if (reason === "trimmed") this.pages.setRange(to + 1, to);
    else if (reason === "damaged") this.pages.damage(from, to);
    else this.pages.rewind(from, gapText(from, to));
  }

  async #loadPage(page: number, signal: AbortSignal): Promise<void> {
    const next = this.pages.missing(page);
    if (next === undefined) return;
    const after = formatCursor({ epoch: this.#epoch, offset: next - 1 });
    const limit = PAGE_EVENTS - ((next - 1) % PAGE_EVENTS);
    const loaded = await this.#client.page(this.id, { after, limit, signal });
    if (signal.aborted) return;
    if (loaded.first > this.pages.first) this.pages.setRange(loaded.first, loaded.last);
    if (loaded.gap?.reason === "damaged") this.pages.damage(loaded.gap.from, loaded.gap.to);
    for (const event of loaded.events) this.pages.add(event);
    this.#frame.request();
  }

  #refreshAfter(type: string): void {
    if (isTerminal(type)) this.#refreshSoon(0);
    else if (/^(run|input|command)\./.test(type) || this.subject.kind === "awaited") {
      this.#refreshSoon(REFRESH_MS);
    } else if (type === "message.delta" || type === "tool.args") {
      this.#refreshSoon(TEXT_REFRESH_MS);
    } else if (/^(stage|step|tool|message|agent|task|variation)\./.test(type)) {
      this.#refreshSoon(WORK_REFRESH_MS);
    }
  }

  /** With 0 at once; else no sooner than the work of the last time allows. */
  #refreshSoon(ms: number): void {
    if (this.#isRefreshing && ms > 0) {
      this.#dueMs = Math.min(ms, this.#dueMs ?? ms);
      return;
    }
    const at = ms === 0 ? 0 : Math.max(performance.now() + ms, this.#refreshNotBefore);
    if (this.#refreshTimer !== undefined && this.#refreshAt <= at) return;
    clearTimeout(this.#refreshTimer);
    this.#refreshAt = at;
    const wait = Math.max(0, at - performance.now());
    this.#refreshTimer = setTimeout(() => void this.#refresh(), wait);
  }

  async #refresh(): Promise<void> {
    this.#refreshTimer = undefined;
    const began = performance.now();
    this.#isRefreshing = true;
    const run = await this.#client.get(this.id, this.#stop.signal).catch((error: Error) => error);
    this.#isRefreshing = false;
    if (this.#stop.signal.aborted) return;
    this.#refreshNotBefore = performance.now() + (performance.now() - began) * (REFRESH_SHARE - 1);
    const dueMs = this.#dueMs;
    this.#dueMs = undefined;
    if (dueMs !== undefined) this.#refreshSoon(dueMs);
    if (run instanceof Error) {
      if (run instanceof ProblemError && !run.isTransient) return;
      this.#refreshFailures += 1;
      this.#refreshSoon(backoffDelay(this.#refreshFailures, RETRY, 1));
      return;
    }
    this.#refreshFailures = 0;
    const known = this.subject.kind === "run" ? this.subject.run : undefined;
    // An answer that was overtaken by a newer one.
    if (known && known.epoch === run.epoch && known.offset > run.offset) return;
    this.pages.startedAt = run.started_at;
    this.#become({ kind: "run", run });
  }

  #connected(state: FollowState): void {
    const was = this.connection;
    this.connection = state;
    if (state.phase === "live" && was.phase !== "live") this.#refreshSoon(0);
    if (state.phase === "ended" && state.because.reason === "deleted") this.#deleted();
    this.#frame.request();
  }

  #refuse(error: ProblemError): void {
    if (error.code === "run_deleted") this.#deleted();
    else this.#become({ kind: "refused", message: error.message });
    const because = { reason: "failed", error } as const;
    this.#connected({
      phase: "ended",
      because: error.code === "run_deleted" ? { reason: "deleted" } : because,
    });
  }

  #deleted(): void {
    if (this.subject.kind === "deleted") return;
    this.#become({
      kind: "deleted",
      run: this.subject.kind === "run" ? this.subject.run : undefined,
    });
  }

  #become(subject: Subject): void {
    this.subject = subject;
    this.#frame.request();
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wakeRetry = () => {
        clearTimeout(timer);
        this.#wakeRetry = undefined;
        resolve();
      };
    });
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}

function gapText(from: number, to: number): string {
  const events = from === to ? `Event ${from} was` : `Events ${from}–${to} were`;
  return `${events} lost or replaced; the history goes on from here`;
}
