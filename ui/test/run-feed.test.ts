import type { Client, FeedOptions, FollowItem, FollowState } from "@runcast/core";
import { NetworkError, ProblemError } from "@runcast/core";
import { expect, it } from "vitest";
import { RunFeed } from "../src/view/run-feed.ts";

/** A feed that is followed, and what a test has its follower say. */
function followed() {
  let says: (state: FollowState) => void = () => {};
  let end: () => void = () => {};
  const client = {
    followFeed: ({ onState = () => {} }: FeedOptions) => {
      says = onState;
      const over = new Promise<FollowItem[]>((resolve) => {
        end = () => resolve([]);
      });
      const batches = async function* (): AsyncGenerator<FollowItem[]> {
        yield await over;
      };
      return { batches, close: () => end() };
    },
  };
  const feed = new RunFeed(client as unknown as Client);
  const news: string[] = [];
  feed.listen((told) => news.push(told));
  const release = feed.keep();
  feed.begin("1");
  return { feed, news, release, says: (state: FollowState) => says(state), end: () => end() };
}

const lost = (error: Error) => ({ phase: "reconnecting", attempt: 1, delay_ms: 9, error }) as const;
const refused = (code: string) => lost(new ProblemError(503, { code }));

it("a log that is away is told when that changes, and is not a server that is away", () => {
  const { feed, news, says } = followed();
  says({ phase: "live" });
  says({ phase: "away" });
  says(refused("log_unavailable"));
  expect([feed.isLogAway, news.splice(0)]).toEqual([true, ["log"]]);
  says({ phase: "live" });
  expect([feed.isLogAway, news.splice(0)]).toEqual([false, ["log"]]);
  for (const state of [lost(new NetworkError("gone")), refused("too_many_followers")]) {
    says({ phase: "away" });
    says(state);
    expect([feed.isLogAway, news.splice(0)]).toEqual([false, ["log", "log", "away"]]);
  }
});

it("a feed that is not followed any more knows of no log", async () => {
  const { feed, news, says, release, end } = followed();
  says({ phase: "away" });
  release();
  expect(feed.isLogAway).toBe(false);
  feed.keep();
  feed.begin("2");
  says({ phase: "away" });
  expect(feed.isLogAway).toBe(true);
  end();
  await expect.poll(() => news).toEqual(["log", "log", "over"]);
  expect(feed.isLogAway).toBe(false);
});
