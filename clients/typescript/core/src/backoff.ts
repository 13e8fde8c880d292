/**
 * How long to wait before the next attempt: exponential with full jitter.
 *
 * The wait is drawn evenly from nothing to the exponential ceiling, so that a thousand viewers of a
 * server that restarts do not come back in the same moment.
 */

export interface BackoffOptions {
  /** The ceiling of the first wait. */
  readonly base_ms: number;
  /** The ceiling of every wait. */
  readonly max_ms: number;
}

/** Longer waits are not taken from a server. */
export const RETRY_MS_MAX = 60_000;

/** The wait before attempt `attempt` (from 1); `random` is from 0 to 1. */
export function backoffDelay(attempt: number, options: BackoffOptions, random: number): number {
  const doublings = Math.min(Math.max(attempt - 1, 0), 30);
  const ceiling = Math.min(options.max_ms, options.base_ms * 2 ** doublings);
  return Math.floor(ceiling * random);
}
