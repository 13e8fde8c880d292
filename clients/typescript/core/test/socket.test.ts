import { readFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import {
  type FollowItem,
  type FollowState,
  ProtocolError,
  RuncastSocket,
  type SocketOptions,
  type Subscription,
} from "../src/index.ts";
import { FakeSocket } from "./fake-socket.ts";

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.all.length = 0;
});

afterEach(() => {
  vi.useRealTimers();
});

function socket(options: SocketOptions = {}): RuncastSocket {
  return new RuncastSocket({ url: "https://host/", WebSocket: FakeSocket, ...options });
}

const subscribed = (run: string, cursor = "0", last = "0") => ({
  type: "subscribed",
  run,
  cursor,
  last,
});

function events(run: string, from: number, to: number): object {
  const all = [];
  for (let offset = from; offset <= to; offset += 1) {
    all.push({ offset, type: "a.b", time: "2026-11-20T21:16:00Z" });
  }
  return { type: "events", run, events: all, cursor: `${to}` };
}

function read(subscription: Subscription): FollowItem[] {
  const items: FollowItem[] = [];
  void (async () => {
    for await (const item of subscription) items.push(item);
  })().catch(() => {});
  return items;
}

const settle = () => vi.advanceTimersByTimeAsync(0);

test("a connection is opened when it is first needed, with the subprotocol", () => {
  const runs = socket();
  expect(FakeSocket.all).toHaveLength(0);
  runs.follow("a");
  runs.follow("b");
  expect(FakeSocket.all).toHaveLength(1);
  expect(FakeSocket.newest.url).toBe("wss://host/v1/ws");
  expect(FakeSocket.newest.protocols).toBe("runcast.v1");
  expect(() => runs.follow("a")).toThrow("followed already");
  FakeSocket.newest.open();
  expect(FakeSocket.newest.sent.map(({ run }) => run)).toEqual(["a", "b"]);
});

test("damaged events are a gap, behind which the subscription goes on", async () => {
  const subscription = socket().follow("r");
  const items = read(subscription);
  FakeSocket.newest.open().say(subscribed("r", "0", "4"));
  FakeSocket.newest.say(events("r", 1, 1));
  const gap = { from: 2, to: 3, reason: "damaged" };
  FakeSocket.newest.say({ type: "gap", run: "r", gap, cursor: "3" });
  FakeSocket.newest.say(events("r", 4, 4));
  FakeSocket.newest.say({ type: "end", run: "r", offset: 4, event_type: null, cursor: "4" });
  await settle();
  expect(items.map(({ kind }) => kind)).toEqual(["event", "gap", "event", "end"]);
  expect(items[1]).toEqual({ kind: "gap", gap: { ...gap, epoch: 1 } });
  expect(items[3]).toEqual({ kind: "end", offset: 4, type: null });
});

test("a subscription has the states of a follow", async () => {
  const states: FollowState["phase"][] = [];
  const runs = socket();
  const subscription = runs.follow("r", { onState: ({ phase }) => states.push(phase) });
  read(subscription);
  FakeSocket.newest.open().say(subscribed("r", "0", "2"));
  FakeSocket.newest.say(events("r", 1, 1));
  FakeSocket.newest.say(events("r", 2, 2));
  FakeSocket.newest.say(events("r", 3, 3));
  FakeSocket.newest.end(1012, "restart; retry_ms=700");
  expect(subscription.state).toMatchObject({ phase: "reconnecting", delay_ms: 700 });
  await vi.advanceTimersByTimeAsync(699);
  expect(FakeSocket.all).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1);
  FakeSocket.newest.open().say(subscribed("r", "3", "3"));
  expect(FakeSocket.newest.sent).toEqual([{ type: "subscribe", run: "r", after: "3" }]);
  expect(states).toEqual(["catching_up", "catching_up", "live", "reconnecting", "live"]);
});

test("doubles are dropped and a hole is asked for again", async () => {
  const runs = socket();
  const items = read(runs.follow("r"));
  const wire = FakeSocket.newest.open();
  wire.say(subscribed("r"));
  wire.say(events("r", 1, 2));
  wire.say(events("r", 2, 3));
  wire.say(events("r", 5, 6));
  expect(wire.sent.at(-1)).toEqual({ type: "unsubscribe", run: "r" });
  wire.say(events("r", 7, 8));
  wire.say({ type: "unsubscribed", run: "r" });
  expect(wire.sent.at(-1)).toEqual({ type: "subscribe", run: "r", after: "3" });
  wire.say(subscribed("r", "3", "8"));
  wire.say(events("r", 4, 8));
  await settle();
  const offsets = items.map((item) => (item.kind === "event" ? item.event.offset : 0));
  expect(offsets).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
});

test("a reader that lags is unsubscribed and goes on when it has taken everything", async () => {
  const runs = socket();
  const subscription = runs.follow("r", { buffer_items_max: 3 });
  const wire = FakeSocket.newest.open();
  wire.say(subscribed("r"));
  wire.say(events("r", 1, 4));
  expect(wire.sent.at(-1)).toEqual({ type: "unsubscribe", run: "r" });
  wire.say(events("r", 5, 900));
  wire.say({ type: "unsubscribed", run: "r" });
  expect(wire.sent).toHaveLength(2);
  const batches = subscription.batches();
  expect((await batches.next()).value).toHaveLength(4);
  const next = batches.next();
  await settle();
  expect(wire.sent.at(-1)).toEqual({ type: "subscribe", run: "r", after: "4" });
  wire.say(subscribed("r", "4", "5"));
  wire.say(events("r", 5, 5));
  expect((await next).value).toHaveLength(1);
});

interface CloseCase {
  readonly code: number;
  readonly reason: string;
  readonly reconnect: boolean;
  readonly retry_ms?: number;
}

const CLOSES: readonly CloseCase[] = JSON.parse(
  readFileSync(new URL("../../../../protocol/cases/closes.json", import.meta.url), "utf8"),
);
const said = ({ code, reason }: CloseCase) => `${code} ${reason}`;
const FOR_GOOD = CLOSES.filter(({ reconnect }) => !reconnect);
const FOR_NOW = CLOSES.filter(({ reconnect }) => reconnect);

test.each(FOR_GOOD.map((close) => [said(close), close] as const))(
  "a close with %s is for good",
  async (_, { code, reason }) => {
    const runs = socket();
    const subscription = runs.follow("r");
    FakeSocket.newest.open().say(subscribed("r"));
    FakeSocket.newest.end(code, reason);
    expect(runs.state.phase).toBe("closed");
    expect(subscription.state).toMatchObject({ phase: "ended", because: { reason: "failed" } });
    await vi.advanceTimersByTimeAsync(3_600_000);
    runs.reconnectNow();
    expect(runs.follow("later").state.phase).toBe("ended");
    await expect(runs.publish("r", [{ type: "a.b" }])).rejects.toThrow("closed");
    expect(FakeSocket.all).toHaveLength(1);
    expect(vi.getTimerCount()).toBe(0);
  },
);

test.each(FOR_NOW.map((close) => [said(close), close] as const))(
  "behind a close with %s the client comes back, not before its time, and goes on",
  async (_, { code, reason, retry_ms }) => {
    const runs = socket({ backoff: { base_ms: 400 }, random: () => 0.5 });
    const items = read(runs.follow("r"));
    FakeSocket.newest.open().say(subscribed("r"));
    FakeSocket.newest.say(events("r", 1, 2));
    FakeSocket.newest.end(code, reason);
    const delay = retry_ms ?? 200;
    expect(runs.state).toMatchObject({ phase: "reconnecting", attempt: 1, delay_ms: delay });
    await vi.advanceTimersByTimeAsync(delay - 1);
    expect(FakeSocket.all).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(FakeSocket.all).toHaveLength(2);
    expect(FakeSocket.newest.open().sent).toEqual([{ type: "subscribe", run: "r", after: "2" }]);
    FakeSocket.newest.say(subscribed("r", "2", "3"));
    FakeSocket.newest.say(events("r", 3, 3));
    await settle();
    expect(items).toHaveLength(3);
  },
);

test("a server that is not there at the time that it said is tried with a backoff", async () => {
  const delays: number[] = [];
  const runs = socket({
    backoff: { base_ms: 100, max_ms: 500 },
    random: () => 1,
    onState: (state) => state.phase === "reconnecting" && delays.push(state.delay_ms),
  });
  runs.follow("r");
  FakeSocket.newest.open().say(subscribed("r"));
  FakeSocket.newest.end(1012, "restart; retry_ms=700");
  for (let refused = 0; refused < 4; refused += 1) {
    await vi.advanceTimersByTimeAsync(700);
    FakeSocket.newest.end();
  }
  expect(delays).toEqual([700, 200, 400, 500, 500]);
  await vi.advanceTimersByTimeAsync(500);
  // One that opens and says nothing is no better; one that answers is.
  FakeSocket.newest.open().end();
  await vi.advanceTimersByTimeAsync(500);
  FakeSocket.newest.open().say(subscribed("r"));
  FakeSocket.newest.end();
  expect(delays.slice(5)).toEqual([500, 100]);
});

test("a time that a server says is taken up to a minute", async () => {
  const runs = socket();
  runs.follow("r");
  FakeSocket.newest.open().end(1013, "retry_ms=999999999999");
  expect(runs.state).toMatchObject({ phase: "reconnecting", delay_ms: 60_000 });
  runs.reconnectNow();
  expect(FakeSocket.all).toHaveLength(2);
});

test("a thousand clients that are told nothing come back spread over the whole backoff", () => {
  const delays = Array.from({ length: 1_000 }, () => {
    const runs = socket({ backoff: { base_ms: 1_000 } });
    runs.follow("r");
    FakeSocket.newest.open().end(1006);
    const { state } = runs;
    return state.phase === "reconnecting" ? state.delay_ms : -1;
  });
  for (let from = 0; from < 1_000; from += 100) {
    const within = delays.filter((delay) => delay >= from && delay < from + 100);
    expect(within.length).toBeGreaterThan(40);
  }
});

test("a close for good ends everything with its reason", async () => {
  const runs = socket();
  const subscription = runs.follow("r");
  const published = runs.publish("r", [{ type: "a.b" }]);
  FakeSocket.newest.open().end(1008, "not allowed");
  await expect(published).rejects.toThrow("1008: not allowed");
  await expect(subscription.batches().next()).rejects.toThrow(ProtocolError);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(FakeSocket.all).toHaveLength(1);
  await expect(runs.publish("r", [{ type: "a.b" }])).rejects.toThrow("closed");
});

test("a server that is silent is asked, then given up", async () => {
  const runs = socket({ ping_ms: 1_000, heartbeat_timeout_ms: 3_000, random: () => 0 });
  runs.follow("r");
  const wire = FakeSocket.newest.open();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(wire.sent.at(-1)).toEqual({ type: "ping" });
  wire.say({ type: "pong" });
  await vi.advanceTimersByTimeAsync(2_000);
  expect(FakeSocket.all).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(wire.closedWith).toBeDefined();
  expect(FakeSocket.all).toHaveLength(2);
});

test("publishes to a run go one after the other and are numbered by event", async () => {
  const runs = socket({ producer: { id: "p", epoch: 3 } });
  const wire = () => FakeSocket.newest.sent;
  const first = runs.publish("r", [{ type: "a.b" }, { type: "a.b" }]);
  const refused = runs.publish("r", [{ type: "wrong" }]);
  const last = runs.publish("r", [{ type: "a.b" }], { expected_offset: 2 });
  FakeSocket.newest.open();
  const answer = {
    type: "published",
    run: "r",
    epoch: 1,
    first: 1,
    last: 2,
    stored: 2,
    duplicates: 0,
  };
  expect(wire()).toHaveLength(1);
  expect(wire()[0]?.producer).toEqual({ id: "p", epoch: 3, sequence: 0 });
  FakeSocket.newest.say({ ...answer, id: wire()[0]?.id });
  expect(await first).toMatchObject({ first: 1, last: 2, stored: 2 });
  const refusal = expect(refused).rejects.toMatchObject({ code: "invalid_event" });
  const problem = { code: "invalid_event", status: 400 };
  FakeSocket.newest.say({ type: "error", id: wire()[1]?.id, problem });
  await refusal;
  // A refusal has stored nothing: its number is given again.
  expect(wire()[2]).toMatchObject({ producer: { sequence: 2 }, expected_offset: 2 });
  FakeSocket.newest.say({ ...answer, id: wire()[2]?.id });
  await last;
});

test("a publish that the server could not take now is sent again with its numbers", async () => {
  const runs = socket({ random: () => 0.5 });
  const published = runs.publish("r", [{ type: "a.b" }]);
  const wire = FakeSocket.newest.open();
  const problem = { code: "no_room", status: 507 };
  wire.say({ type: "error", id: wire.sent[0]?.id, problem });
  await vi.advanceTimersByTimeAsync(1_000);
  expect(wire.sent[1]).toMatchObject({ producer: wire.sent[0]?.producer });
  wire.say({ type: "published", id: wire.sent[1]?.id, run: "r", epoch: 1, stored: 1 });
  expect(await published).toMatchObject({ stored: 1 });
});

test("a publish over the limit is refused before it is sent", async () => {
  const runs = socket();
  const data = "é".repeat(600_000);
  const large = expect(runs.publish("r", [{ type: "a.b", data }])).rejects.toThrow("1048576");
  const small = runs.publish("r", [{ type: "a.b" }]);
  const wire = FakeSocket.newest.open();
  await large;
  expect(wire.sent).toHaveLength(1);
  wire.say({ type: "published", id: wire.sent[0]?.id, run: "r", epoch: 1, stored: 1 });
  await small;
});

test("an abort ends one subscription and leaves the connection to the others", async () => {
  const runs = socket();
  const abort = new AbortController();
  const items = read(runs.follow("a", { signal: abort.signal }));
  runs.follow("b");
  const wire = FakeSocket.newest.open();
  wire.say(subscribed("a"));
  abort.abort();
  expect(wire.sent.at(-1)).toEqual({ type: "unsubscribe", run: "a" });
  wire.say(events("a", 1, 1));
  await settle();
  expect(items).toEqual([]);
  runs.follow("a");
  expect(wire.sent.at(-1)).toEqual({ type: "subscribe", run: "a", after: "0" });
  expect(wire.closedWith).toBeUndefined();
  runs.close();
  expect(wire.closedWith).toBe(1000);
});
