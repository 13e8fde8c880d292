/**
 * The runs that there are, live while somebody looks.
 *
 * The feed says when a run begins, changes or ends; then the list is asked for again, with all that
 * changed at about the same time. It does not tell of output: while a run is active, the list is asked
 * for now and then for the counts of events. Else nothing is asked for. The newest runs, up to
 * what one request gives, are kept up to date; older ones behind them are as they were when they were
 * asked for.
 */

import { type Client, ProblemError, type Run, type RunStatus } from "@runcast/core";
import type { RunFeed } from "../view/run-feed.ts";
import { type ListFilter, NO_FILTER, queryOf } from "./filter.ts";

export type ListState =
  | { readonly kind: "loading" }
  | { readonly kind: "ready" }
  /** The server does not answer; what was there before is still shown. */
  | { readonly kind: "away"; readonly message: string }
  /** The server does not take this filter, and will not the next time. */
  | { readonly kind: "refused"; readonly message: string };

export type Counts = Readonly<Partial<Record<RunStatus, number>>>;

/** While the server does not answer. */
const RETRY_MS = 1_000;
/** What changes within this time is asked for together. */
const GATHER_MS = 150;
/** How old the counts of active runs may be. */
const COUNTS_MS = 5_000;
const PAGE_RUNS = 100;
/** The most runs that are kept up to date: what one request gives. */
const LIVE_MAX = 1_000;

export class RunList {
  state: ListState = { kind: "loading" };
  runs: readonly Run[] = [];
  /** How many runs the filter finds by status, whichever statuses it wants. */
  counts: Counts = {};
  hasMore = false;
  isLoadingMore = false;
  readonly #client: Client;
  readonly #listeners = new Set<() => void>();
  #filter: ListFilter = NO_FILTER;
  #limit = PAGE_RUNS;
  #newest: readonly Run[] = [];
  #older: Run[] = [];
  #next: string | null = null;
  #etag: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #countsTimer: ReturnType<typeof setTimeout> | undefined;
  #asking: AbortController | undefined;
  /** Something changed while the list was asked for. */
  #isDue = false;
  readonly #feed: RunFeed;
  #unlisten: (() => void) | undefined;

  constructor(client: Client, feed: RunFeed) {
    this.#client = client;
    this.#feed = feed;
  }

  start(): void {
    document.addEventListener("visibilitychange", this.#onVisible);
    this.#onVisible();
  }

  close(): void {
    document.removeEventListener("visibilitychange", this.#onVisible);
    this.#stop();
  }

  /** Nothing changes now: the server cannot reach its log. What is shown is what there is. */
  get isLogAway(): boolean {
    return this.#feed.isLogAway;
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Shows only the runs that a filter finds. */
  filter(filter: ListFilter): void {
    if (queryOf(filter) === queryOf(this.#filter)) return;
    this.#filter = filter;
    this.#limit = PAGE_RUNS;
    this.#older = [];
    this.state = { kind: "loading" };
    this.#askAgain();
  }

  /** Asks for older runs. */
  async more(): Promise<void> {
    if (this.isLoadingMore || !this.hasMore) return;
    if (this.#older.length === 0 && this.#limit < LIVE_MAX) {
      this.#limit = Math.min(LIVE_MAX, this.#limit + PAGE_RUNS);
      this.#askAgain();
      return;
    }
    this.isLoadingMore = true;
    this.#notify();
    const query = { ...this.#filter, limit: PAGE_RUNS, cursor: this.#next ?? "" };
    const list = await this.#client.list(query).catch((error: Error) => error);
    this.isLoadingMore = false;
    if (!this.#unlisten) return;
    if (list instanceof Error) this.#fail(list);
    else if (list.changed) {
      this.#older.push(...list.runs);
      this.#next = list.next;
      this.#merge();
    }
    this.#notify();
  }

  retry(): void {
    this.#askAgain();
  }

  readonly #onVisible = (): void => {
    this.#stop();
    if (document.visibilityState !== "visible") return;
    const release = this.#feed.keep();
    const unlisten = this.#feed.listen((news) => {
      if (news === "over") this.#etag = undefined;
      if (news === "log") this.#notify();
      else if (news === "away") void this.#ask();
      else if (this.#timer === undefined) this.#askIn(news === "over" ? RETRY_MS : GATHER_MS);
    });
    this.#unlisten = () => {
      unlisten();
      release();
    };
    this.#askAgain();
  };

  #stop(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#countsTimer);
    this.#timer = undefined;
    this.#asking?.abort();
    this.#asking = undefined;
    this.#unlisten?.();
    this.#unlisten = undefined;
  }

  /** Asks for the whole list, whatever was known. */
  #askAgain(): void {
    this.#etag = undefined;
    this.#asking?.abort();
    this.#asking = undefined;
    this.#askIn(0);
  }

  #askIn(delayMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#ask();
    }, delayMs);
  }

  async #ask(): Promise<void> {
    if (this.#asking) {
      this.#isDue = true;
      return;
    }
    clearTimeout(this.#countsTimer);
    const asking = new AbortController();
    this.#asking = asking;
    this.#isDue = false;
    try {
      const filter = { ...this.#filter, counts: true };
      const query = { ...filter, limit: this.#limit, signal: asking.signal };
      const list = await this.#client.list(this.#etag ? { ...query, etag: this.#etag } : query);
      if (asking.signal.aborted) return;
      if (list.changed) {
        this.#newest = list.runs;
        this.counts = list.counts ?? {};
        this.#etag = list.etag ?? undefined;
        if (this.#older.length === 0) this.#next = list.next;
        this.#merge();
        if (this.#unlisten && !this.#feed.begin(list.feed)) this.#isDue = true;
      }
      this.#feed.reconnectNow();
      this.state = { kind: "ready" };
      this.#countLater();
    } catch (error) {
      if (asking.signal.aborted) return;
      this.#fail(error);
    }
    this.#asking = undefined;
    if (this.#isDue && this.#timer === undefined) this.#askIn(GATHER_MS);
    this.#notify();
  }

  #fail(error: unknown): void {
    if (error instanceof ProblemError && !error.isTransient) {
      this.state = { kind: "refused", message: error.message };
      [this.#newest, this.#older, this.#next, this.counts] = [[], [], null, {}];
      this.#merge();
      return;
    }
    const said = error instanceof ProblemError ? error.message : "The server does not answer.";
    this.state = { kind: "away", message: said };
    this.#askIn(RETRY_MS);
  }

  #countLater(): void {
    // The feed does not tell of steps either, nor of a run's second question.
    const { step_status, input } = this.#filter;
    const isTold = step_status.length === 0 && input === undefined;
    if (isTold && this.#newest.every((run) => run.is_terminal)) return;
    this.#countsTimer = setTimeout(() => void this.#ask(), COUNTS_MS);
  }

  #merge(): void {
    const newest = new Set(this.#newest.map((run) => run.id));
    this.runs = [...this.#newest, ...this.#older.filter((run) => !newest.has(run.id))];
    this.hasMore = this.#next !== null;
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}
