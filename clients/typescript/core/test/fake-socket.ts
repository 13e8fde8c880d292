/** A WebSocket without a network: a test is the server. */

import type { WebSocketLike } from "../src/index.ts";

export class FakeSocket implements WebSocketLike {
  /** All that were made, the newest last. */
  static readonly all: FakeSocket[] = [];
  readonly sent: Record<string, unknown>[] = [];
  closedWith: number | undefined;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number; reason: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  readonly url: string;
  readonly protocols: string;

  constructor(url: string, protocols: string) {
    this.url = url;
    this.protocols = protocols;
    FakeSocket.all.push(this);
  }

  static get newest(): FakeSocket {
    const newest = FakeSocket.all.at(-1);
    if (!newest) throw new Error("no WebSocket was made");
    return newest;
  }

  send(data: string): void {
    this.sent.push(JSON.parse(data));
  }

  close(code?: number): void {
    this.closedWith = code ?? 1005;
  }

  open(): this {
    this.onopen?.();
    return this;
  }

  /** The server says something. */
  say(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  /** The connection ends. */
  end(code = 1006, reason = ""): void {
    this.onclose?.({ code, reason });
  }
}
