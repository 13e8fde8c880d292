/** The feed: the life-cycle events of all runs, followed as a run is. It never ends. */

import type { RunEvent } from "./event.ts";
import { Follow, type FollowOptions, fieldsQuery } from "./follow.ts";
import type { RunStatus } from "./run.ts";

/** An event of the feed. */
export interface FeedEvent extends RunEvent {
  /** The run that it tells of. */
  readonly run: string;
  /** The run behind that event. */
  readonly data: {
    readonly workflow: string | null;
    readonly name: string | null;
    readonly tags: readonly string[];
    readonly status: RunStatus | null;
    /** Where the event is in its run; a deletion is nowhere. */
    readonly epoch?: number;
    readonly offset?: number;
    readonly exit_code?: number;
    readonly signal?: string;
  };
}

/** Which events: any workflow, all tags, any status, any type of those that are named. */
export interface FeedChoice {
  readonly workflow?: readonly string[];
  readonly tag?: readonly string[];
  readonly status?: readonly RunStatus[];
  /** Types, or with a `*` at the end the beginnings of types. */
  readonly type?: readonly string[];
}

export interface FeedOptions extends Omit<FollowOptions, "choice"> {
  readonly choice?: FeedChoice;
}

/** Follows the feed of the server at an address such as `http://127.0.0.1:7070`. */
export function followFeed(url: string | URL, options: FeedOptions = {}): Follow {
  const { choice = {}, ...others } = options;
  const feed = `${String(url).replace(/\/+$/, "")}/v1/feed`;
  const source = { stream: feed, state: `${feed}?limit=1`, choice: fieldsQuery({ ...choice }) };
  return new Follow(feed, others, source);
}

/** Whether an event that was followed is of the feed. */
export function isFeedEvent(event: RunEvent): event is FeedEvent {
  const { run, data } = event as Partial<FeedEvent>;
  return typeof run === "string" && typeof data === "object" && data !== null;
}
