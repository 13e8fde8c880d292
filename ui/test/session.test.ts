import type { Client, FollowItem, FollowOptions, Gap, Page, Run } from "@runcast/core";
import { ProblemError } from "@runcast/core";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { RunSession } from "../src/run/session.ts";

const TIME = "2026-11-20T21:16:00Z";
const item = (offset: number, type = "output"): FollowItem => ({
  kind: "event",
  epoch: 1,
  event: { offset, type, time: TIME, data: { text: `line ${offset}\n` } },
});
const items = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, at) => item(from + at));

/** A client of a run that a test makes: how far it is, and what a follower gets. */
function scripted(run: { offset: number; first?: number; epoch?: number } | ProblemError) {
  const state = {
    run,
    follows: [] as string[],
    pages: [] as string[],
    gets: 0,
    getMs: 0,
    gap: undefined as Gap | undefined,
  };
  let batches: (after: string) => AsyncGenerator<FollowItem[]> = async function* () {};
  const client = {
    get: async () => {
      state.gets += 1;
      if (state.getMs > 0) await new Promise((resolve) => setTimeout(resolve, state.getMs));
      if (state.run instanceof ProblemError) throw state.run;
      const { offset, first = 1, epoch = 1 } = state.run;
      return { offset, first_offset: first, epoch, started_at: TIME } as Run;
    },
    page: async (_: string, query: { after: string; limit: number }) => {
      state.pages.push(query.after);
      const after = Number(query.after);
      const { gap } = state;
      if (gap && after + 1 === gap.from) {
        const events = items(gap.to + 1, after + query.limit).map(
          (it) => "event" in it && it.event,
        );
        return { events, gap, first: 1, last: 1_000_000 } as unknown as Page;
      }
      const until = gap && after < gap.from ? gap.from - 1 : after + query.limit;
      const events = items(after + 1, Math.min(until, after + query.limit)).flatMap((it) =>
        it.kind === "event" ? [it.event] : [],
      );
      return { events, first: 1, last: 1_000_000 } as unknown as Page;
    },
    follow: (_: string, options: FollowOptions) => {
      const after = options.after ?? "0";
      state.follows.push(after);
      const followed = { cursor: after, reconnectNow() {} };
      const read = async function* () {
        for await (const batch of batches(after)) {
          if (options.signal?.aborted) return;
          for (const it of batch) {
            if (it.kind === "event") followed.cursor = `${it.event.offset}`;
          }
          yield batch;
        }
      };
      return Object.assign(followed, { batches: read });
    },
  };
  const session = new RunSession(client as unknown as Client, "r");
  const follows = (script: typeof batches) => {
    batches = script;
  };
  return { session, state, follows };
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal("document", {
    visibilityState: "visible",
    addEventListener() {},
    removeEventListener() {},
  });
  vi.stubGlobal("addEventListener", () => {});
  vi.stubGlobal("removeEventListener", () => {});
  vi.stubGlobal("requestAnimationFrame", (work: () => void) => setTimeout(work, 16));
  vi.stubGlobal("cancelAnimationFrame", clearTimeout);
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it("a page follows from near the run's end, and not from its beginning", async () => {
  const { session, state, follows } = scripted({ offset: 999_900 });
  follows(async function* (after) {
    yield items(Number(after) + 1, 999_901);
  });
  session.start();
  await vi.advanceTimersByTimeAsync(100);
  expect(state.follows).toEqual(["999000"]);
  expect(session.pages.last).toBe(999_901);
  expect(session.pages.missing(1_999)).toBeUndefined();
  session.close();
});

it("older events are asked for by the page, when somebody looks", async () => {
  const { session, state } = scripted({ offset: 1_000_000 });
  session.start();
  await vi.advanceTimersByTimeAsync(100);
  session.pages.want(3, 4);
  await vi.advanceTimersByTimeAsync(200);
  expect(state.pages).toEqual(["1500"]);
  expect(session.pages.missing(3)).toBeUndefined();
  session.pages.want(3, 4);
  await vi.advanceTimersByTimeAsync(200);
  expect(state.pages).toEqual(["1500", "2000"]);
  session.close();
});

it("pages that are passed by are not asked for", async () => {
  const { session, state } = scripted({ offset: 1_000_000 });
  session.start();
  await vi.advanceTimersByTimeAsync(100);
  for (let page = 0; page < 1_000; page += 1) {
    session.pages.want(page, page);
    await vi.advanceTimersByTimeAsync(1);
  }
  await vi.advanceTimersByTimeAsync(200);
  expect(state.pages).toEqual(["499500"]);
  session.close();
});

it("a page that falls far behind lets go and begins again at the end", async () => {
  const { session, state, follows } = scripted({ offset: 1_000 });
  follows(async function* (after) {
    // More than a page can apply, for as long as it is read.
    for (let offset = Number(after); ; offset += 2_000) {
      if (state.follows.length > 1) return;
      state.run = { offset: 5_000_000 };
      await new Promise((resolve) => setTimeout(resolve, 10));
      yield items(offset + 1, offset + 2_000);
    }
  });
  session.start();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(state.follows).toEqual(["0", "4999000"]);
  expect(session.pages.last).toBe(5_000_000);
  expect(session.pages.loadedPages).toBeLessThan(30);
  session.close();
});

it("a run that does not exist yet is awaited from its first event", async () => {
  const absent = new ProblemError(404, { code: "run_not_found" });
  const { session, state, follows } = scripted(absent);
  let begin = () => {};
  follows(async function* () {
    await new Promise<void>((resolve) => {
      begin = resolve;
    });
    state.run = { offset: 1 };
    yield [item(1, "run.started")];
  });
  session.start();
  await vi.advanceTimersByTimeAsync(50);
  expect(session.subject).toEqual({ kind: "awaited" });
  expect(state.follows).toEqual(["0"]);
  begin();
  await vi.advanceTimersByTimeAsync(300);
  expect(session.subject.kind).toBe("run");
  session.close();
});

it("a history that was replaced is let go, and the log goes on behind a note", async () => {
  const { session, follows } = scripted({ offset: 20 });
  follows(async function* () {
    yield items(1, 20);
    const gap = { from: 11, to: 20, reason: "epoch_changed", epoch: 2 } as const;
    yield [{ kind: "gap", gap }, { ...item(11), epoch: 2 } as FollowItem];
  });
  session.start();
  await vi.advanceTimersByTimeAsync(100);
  expect(session.pages.missing(0)).toBe(1);
  expect(session.pages.last).toBe(11);
  session.close();
});

it("damaged events are passed over, live and in what is loaded", async () => {
  const { session, state, follows } = scripted({ offset: 2_000 });
  const damaged = (from: number, to: number) =>
    ({ from, to, reason: "damaged", epoch: 1 }) as const;
  state.gap = damaged(601, 605);
  follows(async function* () {
    yield [...items(1_001, 1_100), { kind: "gap", gap: damaged(1_101, 1_999) }, item(2_000)];
  });
  session.start();
  await vi.advanceTimersByTimeAsync(100);
  session.pages.want(1, 3);
  await vi.advanceTimersByTimeAsync(1_000);
  expect([1, 2, 3].map((page) => session.pages.missing(page))).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
  expect(session.pages.block(1)?.entries.map(({ text }) => text.trim())).toContain(
    "Events 601–605 are damaged on the server’s disk and cannot be read",
  );
  session.close();
});

it("a deleted run and a refused one are said to be", async () => {
  for (const [status, code, kind] of [
    [410, "run_deleted", "deleted"],
    [400, "invalid_run_id", "refused"],
  ] as const) {
    const { session, state } = scripted(new ProblemError(status, { code, detail: "no" }));
    session.start();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(session.subject.kind).toBe(kind);
    expect(session.connection.phase).toBe("ended");
    expect(state.follows).toEqual([]);
    session.close();
  }
});

it("a server that is away is asked again, later and later, or at once when told to", async () => {
  const { session, state } = scripted(new ProblemError(503, { code: "log_unavailable" }));
  session.start();
  await vi.advanceTimersByTimeAsync(10);
  expect(session.connection.phase).toBe("reconnecting");
  state.run = { offset: 3 };
  session.reconnectNow();
  await vi.advanceTimersByTimeAsync(50);
  expect(state.follows).toEqual(["0"]);
  session.close();
});

it("a state that the server could not give is asked for again, until it is there", async () => {
  const { session, state, follows } = scripted({ offset: 1 });
  follows(async function* () {
    yield [item(2, "run.completed")];
    await new Promise(() => {});
  });
  session.start();
  await vi.advanceTimersByTimeAsync(0);
  state.run = new ProblemError(503, { code: "log_unavailable" });
  await vi.advanceTimersByTimeAsync(20_000);
  expect(session.subject).toMatchObject({ kind: "run", run: { offset: 1 } });
  expect(state.gets).toBeGreaterThan(4);
  expect(state.gets).toBeLessThan(12);
  state.run = { offset: 2 };
  await vi.advanceTimersByTimeAsync(6_000);
  expect(session.subject).toMatchObject({ kind: "run", run: { offset: 2 } });
  const { gets } = state;
  await vi.advanceTimersByTimeAsync(20_000);
  expect(state.gets).toBe(gets);
  session.close();
});

it("the state is asked for again as often as events and its cost allow", async () => {
  const asked = async (type: string, getMs: number) => {
    const { session, state, follows } = scripted({ offset: 0 });
    follows(async function* () {
      for (let offset = 1; offset <= 1_000; offset += 1) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        yield [item(offset, type)];
      }
    });
    session.start();
    await vi.advanceTimersByTimeAsync(100);
    Object.assign(state, { gets: 0, getMs });
    await vi.advanceTimersByTimeAsync(8_000);
    session.close();
    return state.gets;
  };
  expect(await asked("output", 0)).toBe(0);
  expect(await asked("message.delta", 0)).toBe(4);
  expect(await asked("step.progress", 0)).toBeGreaterThan(12);
  expect(await asked("step.progress", 0)).toBeLessThan(17);
  // A state that takes 400 ms is asked for a fifth of the time at most.
  expect(await asked("step.progress", 400)).toBeLessThan(5);
});

it("a state that was overtaken by a newer one does not come back", async () => {
  const { session, state, follows } = scripted({ offset: 1 });
  follows(async function* () {
    yield [item(2, "run.updated")];
    await new Promise((resolve) => setTimeout(resolve, 500));
    state.run = { offset: 1 };
    yield [item(3, "run.updated")];
    await new Promise((resolve) => setTimeout(resolve, 500));
  });
  session.start();
  state.run = { offset: 2 };
  await vi.advanceTimersByTimeAsync(900);
  expect(session.subject).toMatchObject({ kind: "run", run: { offset: 2 } });
  session.close();
});
