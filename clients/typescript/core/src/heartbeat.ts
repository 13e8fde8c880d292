/** When a connection that says nothing counts as broken. */

/** Notices silence, but only while somebody waits for bytes: a slow reader is not a dead server. */
export class Heartbeat {
  readonly #timeoutMs: number;
  readonly #onSilence: () => void;
  expired = false;

  constructor(timeoutMs: number, onSilence: () => void) {
    this.#timeoutMs = timeoutMs;
    this.#onSilence = onSilence;
  }

  async during<T>(waiting: Promise<T>): Promise<T> {
    const timer = setTimeout(() => {
      this.expired = true;
      this.#onSilence();
    }, this.#timeoutMs);
    try {
      return await waiting;
    } finally {
      clearTimeout(timer);
    }
  }
}
