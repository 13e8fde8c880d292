/** What the end of a WebSocket means for coming back, by the table of protocol/PROTOCOL.md. */

import { RETRY_MS_MAX } from "./backoff.ts";

export interface CloseDecision {
  readonly reconnect: boolean;
  /** After which time, if the server said one; else after a backoff. */
  readonly retry_ms?: number;
}

/** Codes behind which the same client would only be refused again. */
const FINAL = new Set([1002, 1003, 1007, 1008, 1009]);

export function decideClose(code: number, reason: string): CloseDecision {
  if (FINAL.has(code) || (code >= 4000 && code <= 4099)) return { reconnect: false };
  const told = /retry_ms=(\d{1,9})/.exec(reason);
  if ((code !== 1012 && code !== 1013) || told === null) return { reconnect: true };
  return { reconnect: true, retry_ms: Math.min(Number(told[1]), RETRY_MS_MAX) };
}
