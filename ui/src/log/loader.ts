/**
 * Loads the pages that are looked at, one after another.
 *
 * Waits for a moment before it begins, so that a dragged scrollbar does not ask for every page on
 * its way, and gives up a page that is no longer looked at.
 */

import { backoffDelay } from "@runcast/core";

/** A page must be looked at for so long before it is asked for. */
const SETTLE_MS = 40;
const RETRY = { base_ms: 500, max_ms: 5_000 };

export class Loader {
  /** Loads more of a page; called again until the page is no longer missing. */
  readonly #load: (page: number, signal: AbortSignal) => Promise<void>;
  #wanted: readonly number[] = [];
  #loading: { page: number; abort: AbortController } | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #isClosed = false;

  constructor(load: (page: number, signal: AbortSignal) => Promise<void>) {
    this.#load = load;
  }

  /** These pages are looked at and not loaded, the most wanted first. */
  want(pages: readonly number[]): void {
    const isSame =
      pages.length === this.#wanted.length && pages.every((page, at) => page === this.#wanted[at]);
    if (isSame) return;
    this.#wanted = pages;
    if (this.#loading && !pages.includes(this.#loading.page)) this.#loading.abort.abort();
    this.#schedule(SETTLE_MS);
  }

  close(): void {
    this.#isClosed = true;
    this.#loading?.abort.abort();
    clearTimeout(this.#timer);
  }

  #schedule(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#next(), ms);
  }

  async #next(): Promise<void> {
    const page = this.#wanted[0];
    if (page === undefined || this.#loading || this.#isClosed) return;
    const abort = new AbortController();
    this.#loading = { page, abort };
    let waitMs = 0;
    try {
      await this.#load(page, abort.signal);
      this.#failures = 0;
    } catch {
      // What is wrong is shown by the connection, which asks the same server.
      if (!abort.signal.aborted) {
        this.#failures += 1;
        waitMs = backoffDelay(this.#failures, RETRY, 1);
      }
    }
    this.#loading = undefined;
    if (!this.#isClosed && this.#wanted.length > 0) this.#schedule(waitMs);
  }
}
