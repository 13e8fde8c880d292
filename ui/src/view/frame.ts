/**
 * Work once a frame: however often it is asked for, it is done before the next painting. A page in
 * the background has no frames and works now and then.
 */

const BACKGROUND_MS = 250;

export class Frame {
  readonly #work: () => void;
  #cancel: (() => void) | undefined;

  constructor(work: () => void) {
    this.#work = work;
    document.addEventListener("visibilitychange", this.#rearm);
  }

  /** Asks for the work to be done. */
  request(): void {
    if (this.#cancel) return;
    const run = () => {
      this.#cancel = undefined;
      this.#work();
    };
    if (document.visibilityState === "visible") {
      const frame = requestAnimationFrame(run);
      this.#cancel = () => cancelAnimationFrame(frame);
    } else {
      const timer = setTimeout(run, BACKGROUND_MS);
      this.#cancel = () => clearTimeout(timer);
    }
  }

  close(): void {
    this.#cancel?.();
    document.removeEventListener("visibilitychange", this.#rearm);
  }

  readonly #rearm = () => {
    if (!this.#cancel) return;
    this.#cancel();
    this.#cancel = undefined;
    this.request();
  };
}
