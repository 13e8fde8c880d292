import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type FollowItem, type FollowOptions, type FollowState, follow } from "../src/index.ts";
import {
  type Answer,
  frame,
  json,
  problem,
  ScriptedServer,
  special,
  status,
  stream,
} from "./scripted-server.ts";

const END = special("end", { offset: 3, type: "run.completed" });
const EVENTS = [frame(1), frame(2), frame(3, {}, 1, "run.completed")];

let server: ScriptedServer;
beforeEach(async () => {
  server = await ScriptedServer.start();
});
afterEach(async () => {
  vi.useRealTimers();
  await server.stop();
});

function read(options: FollowOptions = {}) {
  const states: FollowState[] = [];
  const followed = follow(`${server.url}/v1/runs/r`, {
    backoff: { base_ms: 1 },
    onState: (state) => states.push(state),
    ...options,
  });
  return { followed, states };
}

async function all(options: FollowOptions = {}) {
  const { followed, states } = read(options);
  const items: FollowItem[] = [];
  for await (const item of followed) items.push(item);
  return { items, states, phases: states.map((state) => state.phase), cursor: followed.cursor };
}

function seen(items: FollowItem[]): (number | string)[] {
  return items.map((item) => (item.kind === "event" ? item.event.offset : item.kind));
}

describe("following a run", () => {
  it("gives its events and its end, once and in order", async () => {
    server.streams(stream([...EVENTS, END]));
    const { items, states, cursor } = await all();
    expect(seen(items)).toEqual([1, 2, 3, "end"]);
    expect(cursor).toBe("3");
    const because = { reason: "end", offset: 3, type: "run.completed" };
    expect(states.at(-1)).toEqual({ phase: "ended", because });
  });

  it("gives the events that were chosen, and resumes behind those that were not", async () => {
    server.streams(
      stream([frame(1), frame(3), "id: 7\n\n"], "break"),
      stream([
        frame(9, {}, 1, "run.completed"),
        special("end", { offset: 9, type: "run.completed" }),
      ]),
    );
    const choice = { type: ["step.*", "log"], stage: ["a b"], coalesce: true };
    const { items, cursor } = await all({ choice });
    expect(seen(items)).toEqual([1, 3, 9, "end"]);
    expect(cursor).toBe("9");
    expect(server.requests.filter((url) => url.includes("/events"))).toEqual([
      "/v1/runs/r/events?after=0&type=step.*&type=log&stage=a+b&coalesce=1",
      "/v1/runs/r/events?after=7&type=step.*&type=log&stage=a+b&coalesce=1",
    ]);
  });

  it("resumes after the last event when the connection is closed or breaks", async () => {
    server.streams(
      stream([frame(1), frame(2).slice(0, 20)], "break"),
      stream([frame(2)]),
      stream([frame(3, {}, 1, "run.completed"), END]),
    );
    const { items, phases } = await all();
    expect(seen(items)).toEqual([1, 2, 3, "end"]);
    expect(server.cursors).toEqual(["0", "1", "2"]);
    expect(phases).toContain("reconnecting");
  });

  it("begins after the cursor that it is given", async () => {
    server.streams(stream([frame(3), END]));
    const { items } = await all({ after: "2" });
    expect(server.cursors).toEqual(["2"]);
    expect(seen(items)).toEqual([3, "end"]);
    expect(() => follow("http://x", { after: "two" })).toThrow('"two" is not a cursor');
  });

  it("ends at 204, for all was read before", async () => {
    server.streams(stream([frame(1), frame(2, {}, 1, "run.failed")]), status(204));
    const { items, states } = await all();
    expect(seen(items)).toEqual([1, 2]);
    const because = { reason: "end", offset: 2, type: "run.failed" };
    expect(states.at(-1)).toEqual({ phase: "ended", because });
    expect(server.cursors).toEqual(["0", "2"]);
  });

  it("drops doubles", async () => {
    server.streams(stream([frame(1), frame(1), frame(2), frame(1), frame(3), END]));
    expect(seen((await all()).items)).toEqual([1, 2, 3, "end"]);
  });

  it("asks again when events are missing or out of order, and never gives them out of order", async () => {
    server.streams(
      stream([frame(1), frame(3), frame(2)], "stay"),
      stream([frame(2), frame(3), END]),
    );
    expect(seen((await all()).items)).toEqual([1, 2, 3, "end"]);
    expect(server.cursors).toEqual(["0", "1"]);
  });

  it("takes an event that the server has merged for those that it stands for", async () => {
    const merged = frame(3).replace('"offset":3', '"offset":3,"merged":2');
    server.streams(stream([merged], "stay"), stream([frame(1), merged, END]));
    const { items } = await all();
    expect(seen(items)).toEqual([1, 3, "end"]);
    expect(server.cursors).toEqual(["0", "0"]);
  });

  it("does not take the end for true while events before it are missing", async () => {
    server.streams(stream([frame(1), END]), stream([frame(2), frame(3), END]));
    expect(seen((await all()).items)).toEqual([1, 2, 3, "end"]);
  });

  it("gives a gap with both its ends and goes on behind it", async () => {
    const trimmed = special("gap", { from: 1, to: 20, reason: "trimmed" });
    server.streams(
      stream([trimmed, frame(21)]),
      stream([special("end", { offset: 21, type: "x" })]),
    );
    const { items } = await all();
    const gap = { from: 1, to: 20, reason: "trimmed", epoch: 1 };
    expect(items[0]).toEqual({ kind: "gap", gap });
    expect(seen(items)).toEqual(["gap", 21, "end"]);
    expect(server.cursors).toEqual(["0", "21"]);
  });

  it("tells of damaged events wherever they are, and of an end that nobody can name", async () => {
    const damaged = (from: number, to: number) =>
      `id: ${to}\n${special("gap", { from, to, reason: "damaged" })}`;
    server.streams(
      stream([frame(1), damaged(2, 3), frame(4)]),
      stream([damaged(5, 6), special("end", { offset: 6, type: null })]),
    );
    const { items, states } = await all();
    expect(seen(items)).toEqual([1, "gap", 4, "gap", "end"]);
    expect(items[1]).toEqual({ kind: "gap", gap: { from: 2, to: 3, reason: "damaged", epoch: 1 } });
    const because = { reason: "end", offset: 6, type: null };
    expect(states.at(-1)).toEqual({ phase: "ended", because });
    expect(server.cursors).toEqual(["0", "4"]);
  });

  it("goes back to where a new epoch's history differs", async () => {
    const changed = special("gap", { from: 2, to: 3, reason: "epoch_changed", epoch: 2 });
    server.streams(
      stream([frame(1), frame(2), frame(3)]),
      stream([changed, frame(2, {}, 2)]),
      stream([special("end", { offset: 2, type: "run.completed" })]),
    );
    const { items } = await all();
    expect(seen(items)).toEqual([1, 2, 3, "gap", 2, "end"]);
    expect(server.cursors).toEqual(["0", "3", "2.2"]);
  });

  it("goes on without a gap in a new epoch that shares what was read", async () => {
    server.streams(stream([frame(1)]), stream([frame(2, {}, 2), frame(3, {}, 2), END]));
    const { items, cursor } = await all();
    expect(seen(items)).toEqual([1, 2, 3, "end"]);
    expect(cursor).toBe("2.3");
  });

  it("says that the run was deleted, whenever it hears of it", async () => {
    server.streams(stream([frame(1), special("deleted", {})]));
    const live = await all();
    expect(seen(live.items)).toEqual([1, "deleted"]);
    server.streams(problem(410, "run_deleted"));
    const late = await all();
    for (const { states } of [live, late]) {
      expect(states.at(-1)).toEqual({ phase: "ended", because: { reason: "deleted" } });
    }
  });
});

describe("coming back", () => {
  const OPENING = ": runcast\nretry: 1000\n\n";
  const waits = (states: FollowState[]) =>
    states.flatMap((state) => (state.phase === "reconnecting" ? [state.delay_ms] : []));

  it("is at the time that a server says as its last word, and else after a backoff", async () => {
    server.streams(
      stream([OPENING, frame(1), "id: 1\n\n", "retry: 30\n\n"]),
      stream([OPENING, frame(2)], "break"),
      stream([OPENING, "retry: 40\n\n"]),
      stream([EVENTS[2] ?? "", END]),
    );
    const { items, states } = await all({ backoff: { base_ms: 7 }, random: () => 1 });
    expect(seen(items)).toEqual([1, 2, 3, "end"]);
    expect(waits(states)).toEqual([30, 7, 40]);
  });

  it("is after a longer and longer backoff while the server is not there again", async () => {
    const busy = problem(503, "too_many_followers");
    const gone: Answer = (response) => response.destroy();
    server.streams(stream([OPENING, frame(1), "retry: 30\n\n"]), gone, busy, gone);
    server.streams(stream([OPENING, frame(2)]), stream([frame(3), END]));
    const { states } = await all({ backoff: { base_ms: 2, max_ms: 12 }, random: () => 1 });
    expect(waits(states)).toEqual([30, 4, 8, 12, 2]);
  });

  it("is never later than a minute, whatever a server says", async () => {
    server.streams(stream([OPENING, "retry: 999999999\n\n"]), stream([...EVENTS, END]));
    const { followed, states } = read();
    const items: FollowItem[] = [];
    const reading = (async () => {
      for await (const item of followed) items.push(item);
    })();
    await vi.waitFor(() => expect(waits(states)).toEqual([60_000]));
    followed.reconnectNow();
    await reading;
    expect(seen(items)).toEqual([1, 2, 3, "end"]);
  });
});

describe("a follower's states", () => {
  it("are connecting, catching up to what was there, live", async () => {
    server.on("/v1/runs/r", json({ offset: 2 }));
    let [finish, proceed] = [() => {}, () => {}];
    server.streams((response) => {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      response.write(frame(1));
      finish = () => response.write(frame(2));
      proceed = () => response.end(frame(3) + END);
    });
    const { followed, states } = read();
    expect(followed.state).toEqual({ phase: "connecting" });
    const seenOffsets: number[] = [];
    for await (const item of followed) {
      if (item.kind !== "event") continue;
      seenOffsets.push(item.event.offset);
      if (item.event.offset === 1) {
        await vi.waitFor(() => {
          expect(states.at(-1)).toEqual({ phase: "catching_up", offset: 1, target: 2 });
        });
        finish();
      } else if (item.event.offset === 2) {
        expect(states.at(-1)).toEqual({ phase: "live" });
        proceed();
      }
    }
    expect(seenOffsets).toEqual([1, 2, 3]);
    expect(states.at(-1)?.phase).toBe("ended");
  });

  it("are live at once for a run that does not exist yet", async () => {
    server.streams(stream([": waiting\n\n"], "stay"));
    const { followed, states } = read();
    const reading = followed.batches().next();
    await vi.waitFor(() => expect(states.at(-1)).toEqual({ phase: "live" }));
    followed.close();
    expect((await reading).done).toBe(true);
  });

  it("say for how long and why it waits to reconnect", async () => {
    server.streams(
      problem(503, "too_many_followers", { max: 1, detail: "no more" }),
      problem(503, "too_many_followers", { max: 1 }),
      stream([...EVENTS, END]),
    );
    const { states } = await all({ backoff: { base_ms: 2, max_ms: 3 }, random: () => 1 });
    const waits = states.filter((state) => state.phase === "reconnecting");
    expect(waits.map(({ attempt, delay_ms }) => [attempt, delay_ms])).toEqual([
      [1, 2],
      [2, 3],
    ]);
    expect(waits[0]?.error).toMatchObject({ code: "too_many_followers", message: "no more" });
  });

  it("end in failure when the server refuses for good", async () => {
    server.streams(problem(400, "offset_in_future", { last: 3 }));
    const { followed } = read({ after: "9" });
    await expect(followed.batches().next()).rejects.toMatchObject({
      code: "offset_in_future",
      members: { last: 3 },
    });
    expect(followed.state).toMatchObject({ phase: "ended", because: { reason: "failed" } });
  });

  it("end in failure when the server breaks the contract again and again", async () => {
    const login = json("please log in");
    server.streams(login, login, login, login, login, login);
    const { followed } = read();
    await expect(followed.batches().next()).rejects.toThrow("expected text/event-stream");
    expect(server.cursors.length).toBe(5);
  });
});

describe("a follower", () => {
  it("breaks off a silent connection and resumes", async () => {
    server.streams(stream([frame(1)], "stay"), stream([frame(2), frame(3), END]));
    const { items, states } = await all({ heartbeat_timeout_ms: 50 });
    expect(seen(items)).toEqual([1, 2, 3, "end"]);
    const wait = states.find((state) => state.phase === "reconnecting");
    expect(wait?.error.message).toContain("silent");
  });

  it("waits as the backoff says, on a clock, and starts afresh after an event", async () => {
    vi.useFakeTimers();
    const calls: number[] = [];
    const answers = [500, 500, 500, 200, 500, 200];
    const fake = (async (url: string) => {
      if (!url.includes("/events")) return Response.json({ offset: 0 });
      calls.push(Date.now());
      const answer = answers.shift();
      if (answer !== 200) return new Response("", { status: 502 });
      const last = answers.length === 0;
      const body = last ? frame(2) + special("end", { offset: 2, type: "x" }) : frame(1);
      return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
    }) as typeof fetch;
    const backoff = { base_ms: 1_000, max_ms: 3_000 };
    const reading = all({ fetch: fake, backoff, random: () => 1 });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(seen((await reading).items)).toEqual([1, 2, "end"]);
    const waits = calls.slice(1).map((time, at) => time - (calls[at] ?? 0));
    expect(waits).toEqual([1_000, 2_000, 3_000, 1_000, 2_000]);
  });

  it("reconnects at once when it is asked to", async () => {
    server.streams(status(500), stream([...EVENTS, END]));
    const { followed, states } = read({ backoff: { base_ms: 3_600_000 }, random: () => 1 });
    const reading = followed.batches().next();
    await vi.waitFor(() => expect(states.at(-1)?.phase).toBe("reconnecting"));
    followed.reconnectNow();
    expect((await reading).value).toHaveLength(4);
  });

  it("stops when its signal aborts, in a connection or between two", async () => {
    for (const answer of [stream([frame(1)], "stay"), status(500)]) {
      server.streams(answer);
      const controller = new AbortController();
      const { followed, states } = read({
        signal: controller.signal,
        backoff: { base_ms: 3_600_000 },
        random: () => 1,
      });
      const batches = followed.batches();
      const first = batches.next();
      await vi.waitFor(() => expect(states.length).toBeGreaterThan(0));
      controller.abort();
      await first;
      expect((await batches.next()).done).toBe(true);
      expect(states.at(-1)).toEqual({ phase: "ended", because: { reason: "closed" } });
    }
  });

  it("closes its connection when its reader leaves the loop", async () => {
    const closed = new Promise<void>((resolve) => {
      server.streams((response) => {
        response.on("close", resolve);
        stream([frame(1)], "stay")(response, undefined as never);
      });
    });
    const { followed } = read();
    for await (const item of followed) {
      expect(item.kind).toBe("event");
      break;
    }
    await closed;
    expect(followed.state).toEqual({ phase: "ended", because: { reason: "closed" } });
    await expect(followed.batches().next()).rejects.toThrow("once");
  });

  it("reads no further than its reader: memory stays bounded", async () => {
    let written = 0;
    const text = frame(1, "x".repeat(60_000));
    const body = text.slice(text.indexOf("data:"));
    server.streams((response) => {
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      const write = () => {
        for (;;) {
          written += 1;
          const line = `id: ${written}\n${body.replace('"offset":1', `"offset":${written}`)}`;
          if (written > 2_000 || !response.write(line)) break;
        }
      };
      response.on("drain", write);
      write();
    });
    const { followed } = read();
    const batches = followed.batches();
    await batches.next();
    await new Promise((resolve) => setImmediate(resolve));
    // 120 MB are there for it; what the sockets hold is all that was written.
    await vi.waitFor(() => expect(written).toBeGreaterThan(0));
    expect(written).toBeLessThan(1_000);
    await batches.return();
  });
});
