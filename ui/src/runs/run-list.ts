/**
 * The runs that there are, asked for each second while somebody looks.
 *
 * An unchanged list costs an empty answer. The newest runs, up to what one request gives, are kept
 * up to date; older ones behind them are as they were when they were asked for.
 */

import { type Client, ProblemError, type Run, type RunStatus } from "@runcast/core";

export type ListState =
  | { readonly kind: "loading" }
  | { readonly kind: "ready" }
  /** The server does not answer; what was there before is still shown. */
  | { readonly kind: "away"; readonly message: string };

const POLL_MS = 1_000;
const PAGE_RUNS = 100;
/** The most runs that are kept up to date: what one request gives. */
const POLLED_MAX = 1_000;

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
  #asking = new AbortController();

  constructor(client: Client) {
    this.#client = client;
  }

  start(): void {
    document.addEventListener("visibilitychange", this.#onVisible);
    void this.#poll();
  }

  close(): void {
    document.removeEventListener("visibilitychange", this.#onVisible);
    clearTimeout(this.#timer);
    this.#asking.abort();
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
    if (this.#older.length === 0 && this.#limit < POLLED_MAX) {
      this.#limit = Math.min(POLLED_MAX, this.#limit + PAGE_RUNS);
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
  };

  #askAgain(): void {
    this.#etag = undefined;
    this.#asking.abort();
    clearTimeout(this.#timer);
    void this.#poll();
  }

  async #poll(): Promise<void> {
    const asking = new AbortController();
    this.#asking = asking;
    try {
      const query = { status: this.#statuses, limit: this.#limit, signal: asking.signal };
      const list = await this.#client.list(this.#etag ? { ...query, etag: this.#etag } : query);
      if (list.changed) {
        this.#newest = list.runs;
        this.#etag = list.etag ?? undefined;
        if (this.#older.length === 0) this.#next = list.next;
        this.#merge();
      }
      this.state = { kind: "ready" };
    } catch (error) {
      if (asking.signal.aborted) return;
      const said = error instanceof ProblemError ? error.message : "The server does not answer.";
      this.state = { kind: "away", message: said };
    }
    if (asking.signal.aborted) return;
    this.#notify();
    if (document.visibilityState === "visible") {
      this.#timer = setTimeout(() => void this.#poll(), POLL_MS);
    }
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
