/**
 * The feed of all runs, followed once for all that want to know when runs change: a browser has few
 * connections to a server, and so it is followed only while a page needs it.
 */

import { type Client, type Follow, type FollowState, parseCursor } from "@runcast/core";
import { isLogAway } from "./log-away.tsx";

export type FeedNews =
  | "changed"
  /** The server does not answer. */
  | "away"
  /** Whether the server reaches its log has changed. */
  | "log"
  /** It is not followed any more, and begins again with the next cursor. */
  | "over";

export class RunFeed {
  /** The server says that it cannot reach its log. */
  isLogAway = false;
  readonly #client: Client;
  readonly #listeners = new Set<(news: FeedNews) => void>();
  #keepers = 0;
  #follow: Follow | undefined;
  #from: string | undefined;

  constructor(client: Client) {
    this.#client = client;
  }

  /** Tells what it hears while it is followed. */
  listen(listener: (news: FeedNews) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Is followed, once `begin` has said from where, until all who need it have let it go. */
  keep(): () => void {
    this.#keepers += 1;
    return () => {
      this.#keepers -= 1;
      if (this.#keepers === 0) this.#stop();
    };
  }

  /**
   * Follows from a cursor, if anybody needs it. False if it follows from a later one: something may
   * have been missed.
   */
  begin(after: string): boolean {
    if (this.#keepers === 0) return true;
    if (!this.#follow) {
      void this.#read(after);
      return true;
    }
    const [asked, from] = [parseCursor(after), parseCursor(this.#from ?? after)];
    return asked?.epoch === from?.epoch && (asked?.offset ?? 0) >= (from?.offset ?? 0);
  }

  /** The server answers: no need to wait for the next try. */
  reconnectNow(): void {
    this.#follow?.reconnectNow();
  }

  async #read(after: string): Promise<void> {
    const follow = this.#client.followFeed({
      after,
      onState: (state) => {
        if (this.#follow === follow) this.#stands(state);
      },
    });
    this.#follow = follow;
    this.#from = after;
    try {
      for await (const items of follow.batches()) if (items.length > 0) this.#tell("changed");
    } catch {
      // The server knows this cursor no more: the next list brings another.
    }
    if (this.#follow !== follow) return;
    this.#follow = undefined;
    this.isLogAway = false;
    this.#tell("over");
  }

  #stands(state: FollowState): void {
    const wasLogAway = this.isLogAway;
    this.isLogAway = isLogAway(state);
    if (this.isLogAway !== wasLogAway) this.#tell("log");
    if (state.phase === "reconnecting" && !this.isLogAway) this.#tell("away");
  }

  #stop(): void {
    const follow = this.#follow;
    this.#follow = undefined;
    this.isLogAway = false;
    follow?.close();
  }

  #tell(news: FeedNews): void {
    for (const listener of [...this.#listeners]) listener(news);
  }
}
