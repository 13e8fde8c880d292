import { type Client, NetworkError, type Page, ProblemError, type RunEvent } from "@runcast/core";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { EVERYTHING } from "../src/log/filter.ts";
import { MATCHES_MAX, Search } from "../src/log/search.ts";

const event = (offset: number, text: string): RunEvent => ({
  offset,
  type: "output",
  time: "2026-11-20T21:16:00Z",
  data: { text },
});

/** A search in a run of `run.last` events, of which every `every`th is a match. */
function searching(run: { last: number; every: number; error?: Error }) {
  const state = { asked: [] as string[], error: undefined as Error | undefined, ...run };
  const client = {
    page: async (_: string, query: { after: string; limit: number }): Promise<Page> => {
      state.asked.push(query.after);
      if (state.error) throw state.error;
      const events: RunEvent[] = [];
      let next = Number(query.after);
      for (; next < state.last && events.length < query.limit; next += 1) {
        if ((next + 1) % state.every === 0) events.push(event(next + 1, "a needle\n"));
      }
      const answer = { run: "r", epoch: 1, events, next: `${next}`, first: 1, closed: false };
      return { ...answer, last: state.last };
    },
  };
  const search = new Search({ ...EVERYTHING, text: "needle" }, () => {});
  const done = search.run(client as unknown as Client, "r", 1, () => state.last);
  return { search, state, done };
}

const settle = () => vi.advanceTimersByTimeAsync(10);

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it("a search looks through all there is, and then at what comes", async () => {
  const { search } = searching({ last: 10_000, every: 100 });
  await settle();
  expect([search.state, search.found, search.scanned]).toEqual(["live", 100, 10_000]);
  search.live(event(10_001, "hay"));
  search.live(event(10_002, "A NEEDLE again"));
  search.refresh();
  expect([search.found, search.scanned, search.index.total]).toEqual([101, 10_002, 101]);
  search.close();
});

it("what came while it looked, or is missing between, is asked for and not passed over", async () => {
  const { search, state } = searching({ last: 100, every: 10 });
  await settle();
  state.last = 130;
  search.live(event(130, "a needle"));
  await settle();
  expect([search.state, search.found, search.scanned]).toEqual(["live", 13, 130]);
  search.live(event(130, "a needle"));
  expect(search.found).toBe(13);
  search.close();
});

it("no more is asked for than is looked at, and a bounded number is held", async () => {
  const { search, state } = searching({ last: 1_000_000, every: 1 });
  await settle();
  expect([search.state, search.found]).toEqual(["paused", 2_000]);
  expect(state.asked).toHaveLength(4);
  search.want(0, 0);
  await settle();
  expect(search.found).toBe(2_000);
  for (let more = 0; more < 50; more += 1) {
    search.want(0, 1_000);
    await settle();
  }
  expect([search.state, search.found]).toEqual(["full", MATCHES_MAX]);
  search.live(event(1_000_001, "a needle"));
  await settle();
  expect([search.state, search.found]).toEqual(["full", MATCHES_MAX]);
  search.close();
});

it("a server that is away is asked again, from the same place", async () => {
  const error = new NetworkError("away");
  const { search, state } = searching({ last: 1_000, every: 10, error });
  await settle();
  expect(search.state).toBe("waiting");
  state.error = undefined;
  await vi.advanceTimersByTimeAsync(1_000);
  expect([search.state, search.found]).toEqual(["live", 100]);
  expect(state.asked.slice(0, 2)).toEqual(["0", "0"]);
  search.close();
});

it("a refused search ends and says so, and a closed one ends", async () => {
  const error = new ProblemError(410, { code: "run_deleted" });
  const { search, done } = searching({ last: 1_000, every: 10, error });
  await done;
  expect(search.state).toBe("refused");
  const other = searching({ last: 1_000, every: 10 });
  await settle();
  other.search.close();
  await other.done;
});
