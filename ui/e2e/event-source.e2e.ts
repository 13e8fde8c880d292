/** What a plain `EventSource` makes of a server that dies: it resumes by itself, all of its runs. */

import { RuncastSocket } from "@runcast/core";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { WebSocket as NodeWebSocket } from "ws";
import { launch } from "./browser.ts";
import { RuncastServer } from "./server.ts";

let browser: Browser;
let server: RuncastServer;

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());
beforeEach(async () => {
  server = await RuncastServer.start();
});
afterEach(() => server.stop());

const RUNS = ["a", "b"];
const KILLS = 3;
/** What a reader sees between two kills, at least. */
const SEEN_BETWEEN_KILLS = 40;

/** An event as a reader tells of it, whatever it reads. */
interface Told {
  readonly run: string;
  /** Its place in its run. */
  readonly offset: number;
  /** Its number in what its producer sent, or the type of the last. */
  readonly said: string;
}

interface Heard {
  /** How often it was connected. */
  opened: number;
  readonly messages: { readonly id: string; readonly data: string }[];
  readonly ends: string[];
  readonly source: EventSource;
}

declare global {
  interface Window {
    heard: Heard;
  }
}

/** A page with nothing but an `EventSource`, and the statuses of the answers that it got. */
async function listen(path: string): Promise<{ page: Page; answers: number[] }> {
  const page = await browser.newPage();
  await page.goto(`${server.url}/openapi.json`);
  const answers: number[] = [];
  page.on("response", (response) => answers.push(response.status()));
  await page.evaluate((path) => {
    const heard: Heard = {
      opened: 0,
      messages: [],
      ends: [],
      source: new EventSource(path),
    };
    window.heard = heard;
    heard.source.onopen = () => {
      heard.opened += 1;
    };
    heard.source.onmessage = ({ data, lastEventId: id }) => heard.messages.push({ id, data });
    heard.source.addEventListener("end", ({ data }) => heard.ends.push(data));
  }, path);
  return { page, answers };
}

/** Waits until the page is connected for the last of so many times, and then has got more messages. */
async function goesOn(page: Page, times: number): Promise<void> {
  await page.waitForFunction((times) => window.heard.opened === times, times);
  const before = await page.evaluate(() => window.heard.messages.length);
  const wanted = before + SEEN_BETWEEN_KILLS;
  await page.waitForFunction((wanted) => window.heard.messages.length >= wanted, wanted);
}

/** Publishes to all runs without a pause until it is told to end them; how many each has. */
function publishing(socket: RuncastSocket): { end(): Promise<Map<string, number>> } {
  let isOver = false;
  const counts = new Map<string, number>();
  const all = RUNS.map(async (run) => {
    for (let number = 1; !isOver; number += 1) {
      await socket.publish(run, [{ type: "run.updated", data: { name: `${number}` } }]);
      counts.set(run, number);
    }
    await socket.publish(run, [{ type: "run.completed" }]);
  });
  return {
    end: async () => {
      isOver = true;
      await Promise.all(all);
      return counts;
    },
  };
}

const said = ({ type, data }: { type: string; data?: { name?: string } }) =>
  type === "run.updated" ? `${data?.name}` : type;

const READERS: readonly {
  readonly path: string;
  readonly runs: readonly string[];
  readonly tell: (message: { id: string; data: string }) => Told;
}[] = [
  {
    path: "/v1/runs/a/events",
    runs: ["a"],
    tell: ({ id, data }) => {
      const event = JSON.parse(data);
      expect(id).toBe(`${event.offset}`);
      return { run: "a", offset: event.offset, said: said(event) };
    },
  },
  {
    path: "/v1/streams?run=a&run=b",
    runs: RUNS,
    tell: ({ id, data }) => {
      const event = JSON.parse(data);
      expect(id.split(",")).toContain(`${event.run}:${event.offset}`);
      return { run: event.run, offset: event.offset, said: said(event) };
    },
  },
  {
    path: "/v1/feed",
    runs: RUNS,
    tell: ({ id, data }) => {
      const entry = JSON.parse(data);
      expect(id).toBe(`${entry.offset}`);
      return { run: entry.run, offset: entry.data.offset, said: said(entry) };
    },
  },
];

it.each(READERS)(
  "an EventSource of $path loses, doubles and swaps nothing when the server is killed",
  async ({ path, runs, tell }) => {
    const { page, answers } = await listen(path);
    const backoff = { base_ms: 20, max_ms: 100 };
    const socket = new RuncastSocket({ url: server.url, WebSocket: NodeWebSocket, backoff });
    const publisher = publishing(socket);
    for (let kill = 1; kill <= KILLS; kill += 1) {
      await goesOn(page, kill);
      await server.restart();
    }
    await goesOn(page, KILLS + 1);
    const counts = await publisher.end();
    socket.close();
    const expected = new Map(
      runs.map((run) => {
        const numbers = Array.from({ length: counts.get(run) ?? 0 }, (_, at) => `${at + 1}`);
        return [run, [...numbers, "run.completed"]];
      }),
    );
    const total = [...expected.values()].reduce((sum, all) => sum + all.length, 0);
    await page.waitForFunction((total) => window.heard.messages.length >= total, total);
    if (path !== "/v1/feed") await page.waitForFunction(() => window.heard.source.readyState === 2);
    const messages = await page.evaluate(() => window.heard.messages);
    await page.close();
    const told = messages.map(tell);
    for (const run of runs) {
      const seen = told.filter((event) => event.run === run);
      expect(seen.map((event) => event.said)).toEqual(expected.get(run));
      expect(seen.map((event) => event.offset)).toEqual(seen.map((_, at) => at + 1));
    }
    expect(told).toHaveLength(total);
    if (path === "/v1/feed") {
      expect(messages.map(({ id }) => id)).toEqual(messages.map((_, at) => `${at + 1}`));
    }
    expect(answers.filter((status) => status === 200)).toHaveLength(1 + KILLS);
  },
);

it.each([
  { path: "/v1/runs/a/events", end: { offset: 1, type: "run.completed" } },
  {
    path: "/v1/streams?run=a&run=b",
    end: {
      runs: [
        { run: "a", offset: 1, type: "run.completed" },
        { run: "b", deleted: true },
      ],
    },
  },
])("an EventSource of $path asks no more when all was said", async ({ path, end }) => {
  await server.publish("b", { type: "run.completed" });
  await server.remove("b");
  const { page, answers } = await listen(path);
  await server.publish("a", { type: "run.completed" });
  // It asks once more, is told that there is nothing, and by the standard never asks again.
  await page.waitForFunction(() => window.heard.source.readyState === 2);
  expect(answers).toEqual([200, 204]);
  const { messages, ends } = await page.evaluate(() => window.heard);
  expect(messages).toHaveLength(1);
  expect(JSON.parse(ends.at(-1) ?? "")).toEqual(end);
  await page.close();
});
