import type { RunList as Answer, Client, ListQuery, Run } from "@runcast/core";
import { NetworkError, ProblemError } from "@runcast/core";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { RunList } from "../src/runs/run-list.ts";
import type { FeedNews, RunFeed } from "../src/view/run-feed.ts";

const PAGE_RUNS = 100;
/** So many runs are kept up to date; older ones are asked for behind them. */
const LIVE_MAX = 1_000;

/** A list of a server with many runs, which a test makes fail. */
function listed() {
  const state = { failure: undefined as Error | undefined, asked: 0 };
  let tell: (news: FeedNews) => void = () => {};
  const feed = {
    isLogAway: false,
    listen: (listener: typeof tell) => {
      tell = listener;
      return () => {};
    },
    keep: () => () => {},
    begin: () => true,
    reconnectNow() {},
  };
  const client = {
    list: async ({ limit = PAGE_RUNS, cursor = "0" }: ListQuery): Promise<Answer> => {
      state.asked += 1;
      if (state.failure) throw state.failure;
      const first = Number(cursor);
      const runs = Array.from({ length: limit }, (_, at) => {
        return { id: `r${first + at}`, is_terminal: true } as Run;
      });
      return { changed: true, runs, next: `${first + limit}`, etag: null, feed: "1", counts: {} };
    },
  };
  const list = new RunList(client as unknown as Client, feed as unknown as RunFeed);
  return { list, state, feed, tell: (news: FeedNews) => tell(news) };
}

const behind = new ProblemError(503, { code: "state_behind", detail: "try again soon" });

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("document", {
    visibilityState: "visible",
    addEventListener() {},
    removeEventListener() {},
  });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it("a list that the server cannot give says so and is asked for again, with what was there", async () => {
  const { list, state, tell } = listed();
  list.start();
  await vi.advanceTimersByTimeAsync(0);
  expect([list.state.kind, list.runs.length]).toEqual(["ready", PAGE_RUNS]);
  state.failure = behind;
  tell("changed");
  await vi.advanceTimersByTimeAsync(200);
  expect(list.state).toEqual({ kind: "away", message: "try again soon" });
  expect(list.runs).toHaveLength(PAGE_RUNS);
  state.asked = 0;
  await vi.advanceTimersByTimeAsync(10_000);
  expect(state.asked).toBe(10);
  state.failure = undefined;
  await vi.advanceTimersByTimeAsync(1_000);
  expect(list.state).toEqual({ kind: "ready" });
  list.close();
});

it("older runs that the server cannot give now are said to be missing, and can be asked for again", async () => {
  const { list, state } = listed();
  list.start();
  await vi.advanceTimersByTimeAsync(0);
  while (list.runs.length < LIVE_MAX) {
    await list.more();
    await vi.advanceTimersByTimeAsync(0);
  }
  state.failure = new NetworkError("gone");
  await list.more();
  expect(list.state).toEqual({ kind: "away", message: "The server does not answer." });
  expect([list.isLoadingMore, list.runs.length]).toEqual([false, LIVE_MAX]);
  state.failure = undefined;
  await vi.advanceTimersByTimeAsync(1_000);
  expect(list.state).toEqual({ kind: "ready" });
  await list.more();
  expect(list.runs).toHaveLength(LIVE_MAX + PAGE_RUNS);
  list.close();
});

it("a log that is away asks the server for nothing", async () => {
  const { list, state, feed, tell } = listed();
  list.start();
  await vi.advanceTimersByTimeAsync(0);
  let told = 0;
  list.subscribe(() => {
    told += 1;
  });
  state.asked = 0;
  feed.isLogAway = true;
  tell("log");
  await vi.advanceTimersByTimeAsync(10_000);
  expect([list.isLogAway, list.state.kind, told, state.asked]).toEqual([true, "ready", 1, 0]);
  list.close();
});
