/** A server that is there and cannot reach its log: what its followers say, and when it is over. */

import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  type FollowOptions,
  type FollowState,
  follow,
  ProblemError,
  RuncastSocket,
} from "../src/index.ts";
import { FakeSocket } from "./fake-socket.ts";
import { frame, json, problem, ScriptedServer, special, stream } from "./scripted-server.ts";

const AWAY = special("away", {});
const HEARTBEAT = ":\n\n";
const LIVE = { phase: "live" };

describe("over an event stream", () => {
  let server: ScriptedServer;
  let wire: ServerResponse;

  beforeEach(async () => {
    server = await ScriptedServer.start();
    server.on("/v1/runs/r", json({ offset: 1 }));
    server.streams((response) => {
      wire = response;
      response.writeHead(200, { "Content-Type": "text/event-stream" });
      response.write(frame(1));
    });
  });
  afterEach(() => server.stop());

  function read(options: FollowOptions = {}) {
    const phases: string[] = [];
    const offsets: number[] = [];
    const refusals: string[] = [];
    const onState = (state: FollowState) => {
      phases.push(state.phase);
      if (state.phase !== "reconnecting") return;
      if (state.error instanceof ProblemError) refusals.push(state.error.code);
    };
    const followed = follow(`${server.url}/v1/runs/r`, { onState, ...options });
    const reading = (async () => {
      for await (const item of followed) if (item.kind === "event") offsets.push(item.event.offset);
    })();
    const becomes = (phase: string) => vi.waitFor(() => expect(followed.state.phase).toBe(phase));
    return { followed, phases, refusals, offsets, reading, becomes };
  }

  it("a log that is away is told as long as it is, once, and the connection stays", async () => {
    const { followed, phases, offsets, reading, becomes } = read();
    await becomes("live");
    phases.length = 0;
    wire.write(AWAY);
    await becomes("away");
    wire.write(AWAY + AWAY);
    wire.write(HEARTBEAT);
    await becomes("live");
    expect(phases).toEqual(["away", "live"]);
    wire.write(AWAY);
    await becomes("away");
    wire.write(frame(2));
    await becomes("live");
    wire.end(special("end", { offset: 2, type: "run.completed" }));
    await reading;
    expect([followed.cursor, offsets]).toEqual(["2", [1, 2]]);
    expect(server.cursors).toEqual(["0"]);
  });

  it("the cursor of the next heartbeat says that it is over", async () => {
    const { followed, phases, becomes } = read();
    await becomes("live");
    wire.write(`id: 5\n\n${AWAY}`);
    await vi.waitFor(() => expect(followed.cursor).toBe("5"));
    expect(followed.state.phase).toBe("away");
    wire.write("id: 9\n\n");
    await becomes("live");
    expect(phases.filter((phase) => phase === "away")).toHaveLength(1);
    followed.close();
  });

  it("a reader that is away in the middle goes on catching up", async () => {
    server.on("/v1/runs/r", json({ offset: 3 }));
    const { followed, becomes } = read();
    await becomes("catching_up");
    wire.write(AWAY);
    await becomes("away");
    wire.write(frame(2));
    await becomes("catching_up");
    wire.write(frame(3));
    await becomes("live");
    followed.close();
  });

  it("how far the run is, is asked until the server can say, so that live is true", async () => {
    server.on("/v1/runs/r", problem(503, "log_unavailable"));
    const { followed, phases, becomes } = read({ backoff: { base_ms: 1, max_ms: 5 } });
    const asked = () => server.requests.filter((path) => path === "/v1/runs/r").length;
    await vi.waitFor(() => expect(asked()).toBeGreaterThan(3));
    expect(phases).not.toContain("live");
    server.on("/v1/runs/r", json({ offset: 2 }));
    const before = asked();
    await vi.waitFor(() => expect(asked()).toBeGreaterThan(before));
    expect(phases).not.toContain("live");
    wire.write(frame(2));
    await becomes("live");
    followed.close();
  });

  it("what a later server says is passed over, and breaks nothing", async () => {
    const { followed, offsets, reading, becomes } = read();
    await becomes("live");
    wire.write(special("weather", { is: "fine" }) + frame(2));
    wire.end(special("end", { offset: 2, type: "run.completed" }));
    await reading;
    expect([followed.cursor, offsets]).toEqual(["2", [1, 2]]);
    expect(server.cursors).toEqual(["0"]);
  });

  it("who comes while it is away is refused, and comes again with a backoff", async () => {
    const { followed, refusals, becomes } = read({ backoff: { base_ms: 1 } });
    await becomes("live");
    server.streams(problem(503, "log_unavailable"), stream([frame(2)], "stay"));
    wire.destroy();
    await vi.waitFor(() => expect(followed.cursor).toBe("2"));
    expect(server.cursors).toEqual(["0", "1", "1"]);
    expect(refusals).toEqual(["log_unavailable"]);
    followed.close();
  });
});

describe("over a WebSocket", () => {
  beforeEach(() => {
    vi.useFakeTimers();
    FakeSocket.all.length = 0;
  });
  afterEach(() => vi.useRealTimers());

  const subscribed = (run: string) => ({ type: "subscribed", run, cursor: "0", last: "0" });
  const event = { offset: 1, type: "a.b", time: "2026-11-20T21:16:00Z" };
  const events = (run: string) => ({ type: "events", run, events: [event], cursor: "1" });

  function open(...runs: string[]) {
    const socket = new RuncastSocket({ url: "http://host", WebSocket: FakeSocket });
    const followed = runs.map((run) => socket.follow(run));
    const wire = FakeSocket.newest.open();
    for (const run of runs) wire.say(subscribed(run));
    const states = () => followed.map(({ state }) => state);
    return { socket, wire, states };
  }

  it("all subscriptions tell of it, until one of them gets something", () => {
    const { socket, wire, states } = open("a", "b");
    expect(states()).toEqual([LIVE, LIVE]);
    wire.say({ type: "away" });
    const problem = { code: "log_unavailable", status: 503 };
    for (const message of [{ type: "pong" }, { type: "error", id: 7, problem }]) wire.say(message);
    expect(states()).toEqual([{ phase: "away" }, { phase: "away" }]);
    wire.say(events("a"));
    expect(states()).toEqual([LIVE, LIVE]);
    socket.close();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("it is over when none of two heartbeats has told of it", async () => {
    const { wire, states } = open("a");
    for (let heartbeat = 0; heartbeat < 4; heartbeat += 1) {
      wire.say({ type: "away" });
      await vi.advanceTimersByTimeAsync(29_999);
      expect(states()).toEqual([{ phase: "away" }]);
    }
    await vi.advanceTimersByTimeAsync(1);
    expect(states()).toEqual([LIVE]);
    expect(FakeSocket.all).toHaveLength(1);
  });

  it("a subscription that waits for its answer tells of it too, and then connects again", async () => {
    const { socket, wire } = open("a");
    const late = socket.follow("late");
    expect(late.state.phase).toBe("connecting");
    wire.say({ type: "away" });
    expect(late.state.phase).toBe("away");
    await vi.advanceTimersByTimeAsync(30_000);
    expect(late.state.phase).toBe("connecting");
    wire.say({ type: "away" });
    const problem = { code: "log_unavailable", status: 503 };
    wire.say({ type: "error", run: "late", problem });
    expect(late.state).toMatchObject({ phase: "reconnecting", attempt: 1 });
    await vi.advanceTimersByTimeAsync(250);
    expect(wire.sent.filter(({ run }) => run === "late")).toHaveLength(2);
    wire.say(subscribed("late"));
    expect(late.state).toEqual(LIVE);
  });

  it("a connection that breaks meanwhile is made again, and begins afresh", async () => {
    const { wire, states } = open("a");
    wire.say({ type: "away" });
    wire.end(1012, "restart; retry_ms=0");
    expect(states()).toMatchObject([{ phase: "reconnecting" }]);
    await vi.advanceTimersByTimeAsync(0);
    FakeSocket.newest.open().say(subscribed("a"));
    await vi.advanceTimersByTimeAsync(20_000);
    expect(states()).toEqual([LIVE]);
  });
});
