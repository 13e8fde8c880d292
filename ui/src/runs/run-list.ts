/**
 * The runs that there are, live while somebody looks.
 *
 * The feed says when a run begins, changes or ends; then the list is asked for again, with all that
 * changed at about the same time. It does not tell of output: while a run is active, the list is asked
 * for now and then for the counts of events. Else nothing is asked for. The newest runs, up to
 * what one request gives, are kept up to date; older ones behind them are as they were when they were
 * asked for.
 */

import { type Client, type Follow, ProblemError, type Run, type RunStatus } from "@runcast/core";

export type ListState =
  | { readonly kind: "loading" }
  | { readonly kind: "ready" }
  /** The server does not answer; what was there before is still shown. */
  | { readonly kind: "away"; readonly message: string };

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
  hasMore = false;
  isLoadingMore = false;
  readonly #client: Client;
  readonly #listeners = new Set<() => void>();
  #statuses: readonly RunStatus[] = [];
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
  #feed: Follow | undefined;

  constructor(client: Client) {
    this.#client = client;
  }

  start(): void {
    document.addEventListener("visibilitychange", this.#onVisible);
    this.#onVisible();
  }

  close(): void {
    document.removeEventListener("visibilitychange", this.#onVisible);
    this.#stop();
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Shows only runs of these statuses; all with none. */
  filter(statuses: readonly RunStatus[]): void {
    this.#statuses = statuses;
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
    const query = { status: this.#statuses, limit: PAGE_RUNS, cursor: this.#next ?? "" };
    const list = await this.#client.list(query).catch(() => undefined);
    this.isLoadingMore = false;
    if (list?.changed) {
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
    if (document.visibilityState === "visible") this.#askAgain();
    else this.#stop();
  };

  #stop(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#countsTimer);
    this.#timer = undefined;
    this.#asking?.abort();
    this.#asking = undefined;
    this.#feed?.close();
    this.#feed = undefined;
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
      const query = { status: this.#statuses, limit: this.#limit, signal: asking.signal };
      const list = await this.#client.list(this.#etag ? { ...query, etag: this.#etag } : query);
      if (asking.signal.aborted) return;
      if (list.changed) {
        this.#newest = list.runs;
        this.#etag = list.etag ?? undefined;
        if (this.#older.length === 0) this.#next = list.next;
        this.#merge();
        if (!this.#feed) void this.#follow(list.feed);
      }
      this.#feed?.reconnectNow();
      this.state = { kind: "ready" };
      this.#countLater();
    } catch (error) {
      if (asking.signal.aborted) return;
      const said = error instanceof ProblemError ? error.message : "The server does not answer.";
      this.state = { kind: "away", message: said };
      this.#askIn(RETRY_MS);
    }
    this.#asking = undefined;
    if (this.#isDue && this.#timer === undefined) this.#askIn(GATHER_MS);
    this.#notify();
  }

  #countLater(): void {
    if (this.#newest.every((run) => run.is_terminal)) return;
    this.#countsTimer = setTimeout(() => void this.#ask(), COUNTS_MS);
  }

  /** Asks for the list whenever the feed says that it has changed. */
  async #follow(after: string): Promise<void> {
    const feed = this.#client.followFeed({
      after,
      onState: ({ phase }) => {
        if (phase === "reconnecting" && this.#feed === feed) void this.#ask();
      },
    });
    this.#feed = feed;
    try {
      for await (const items of feed.batches()) {
        if (items.length > 0 && this.#timer === undefined) this.#askIn(GATHER_MS);
      }
    } catch {
      // The server knows this cursor no more: the next list brings another.
    }
    if (this.#feed !== feed) return;
    this.#feed = undefined;
    this.#etag = undefined;
    this.#askIn(RETRY_MS);
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

/** Whether a run has all the words of a text in its name, workflow, id or tags. */
export function hasText(run: Run, text: string): boolean {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const all = [run.name, run.workflow, run.id, ...run.tags].join("\n").toLowerCase();
  return words.every((word) => all.includes(word));
}
