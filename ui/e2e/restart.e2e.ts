/** A server that stops: everybody comes back, each at another time, and has missed nothing. */

import { Client, type FollowState, RuncastSocket } from "@runcast/core";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { WebSocket as NodeWebSocket } from "ws";
import { launch } from "./browser.ts";
import { lines, RuncastServer } from "./server.ts";

let browser: Browser;
let server: RuncastServer;

beforeAll(async () => {
  browser = await launch();
  server = await RuncastServer.start();
});
afterAll(async () => {
  await browser.close();
  await server.stop();
});

const FOLLOWERS = 20;
const EVENTS = 100;
/** Over so long does the server spread those that come back, by default. */
const SPREAD_MS = 5_000;

interface Reader {
  readonly offsets: number[];
  readonly states: FollowState[];
  readonly done: Promise<void>;
}

type Items = AsyncIterable<{ kind: string; event?: { offset: number } }>;

function read(follow: (onState: (state: FollowState) => void) => Items): Reader {
  const states: FollowState[] = [];
  const offsets: number[] = [];
  const items = follow((state) => states.push(state));
  const done = (async () => {
    for await (const { event } of items) if (event) offsets.push(event.offset);
  })();
  return { offsets, states, done };
}

it.each(["SSE", "WebSocket"])(
  "followers over %s come back at times of their own when the server stops",
  async (transport) => {
    const run = `stops-${transport}`;
    await server.publish(run, ...lines(1, EVENTS));
    const readers = Array.from({ length: FOLLOWERS }, () => {
      if (transport === "SSE") {
        const client = new Client({ url: server.url });
        return read((onState) => client.follow(run, { onState }));
      }
      const socket = new RuncastSocket({ url: server.url, WebSocket: NodeWebSocket });
      return read((onState) => socket.follow(run, { onState }));
    });
    const isLive = ({ states }: Reader) => states.at(-1)?.phase === "live";
    while (!readers.every(isLive)) await new Promise(setImmediate);
    await server.terminate();
    await server.restart();
    await server.publish(run, ...lines(EVENTS + 1, 2 * EVENTS), { type: "run.completed" });
    await Promise.all(readers.map(({ done }) => done));
    const expected = Array.from({ length: 2 * EVENTS + 1 }, (_, at) => at + 1);
    for (const { offsets } of readers) expect(offsets).toEqual(expected);
    const waits = readers.map(({ states }) => {
      const lost = states.find((state) => state.phase === "reconnecting");
      return lost?.phase === "reconnecting" ? lost.delay_ms : -1;
    });
    for (const wait of waits) expect(wait).toBeLessThanOrEqual(SPREAD_MS);
    // By chance one follower in ten would be told less than a tenth of the time; never nearly all.
    expect(waits.filter((wait) => wait > SPREAD_MS / 10).length).toBeGreaterThan(FOLLOWERS / 2);
    expect(new Set(waits).size).toBeGreaterThan(FOLLOWERS / 2);
  },
);

it("a plain EventSource of many runs comes back when the server stops", async () => {
  for (const run of ["a", "b"]) await server.publish(run, ...lines(1, EVENTS));
  const page = await browser.newPage();
  await page.goto(`${server.url}/openapi.json`);
  await page.evaluate(() => {
    const seen: Record<string, number[]> = { a: [], b: [] };
    Object.assign(window, { seen });
    const source = new EventSource("/v1/streams?run=a&run=b");
    source.onmessage = ({ data }) => {
      const { run, offset } = JSON.parse(data);
      seen[run]?.push(offset);
    };
  });
  const until = (count: number) =>
    page.waitForFunction((count) => {
      const { a, b } = (window as never as { seen: Record<string, number[]> }).seen;
      return (a?.length ?? 0) >= count && (b?.length ?? 0) >= count;
    }, count);
  await until(EVENTS);
  await server.terminate();
  await server.restart();
  for (const run of ["a", "b"]) await server.publish(run, ...lines(EVENTS + 1, 2 * EVENTS));
  await until(2 * EVENTS);
  const all = Array.from({ length: 2 * EVENTS }, (_, at) => at + 1);
  const seen = await page.evaluate(() => (window as never as { seen: unknown }).seen);
  expect(seen).toEqual({ a: all, b: all });
  await page.close();
});
