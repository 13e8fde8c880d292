/** A Redis that is killed and comes back: everybody stays, is told, and has missed nothing. */

import { Client, type FollowState, ProblemError, RuncastSocket } from "@runcast/core";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { WebSocket as NodeWebSocket } from "ws";
import { LONG_TASK_MS_MAX, launch, open, phase, readAll, row } from "./browser.ts";
import { Redis } from "./redis.ts";
import { lines, RuncastServer } from "./server.ts";

let browser: Browser;
let redis: Redis;
let server: RuncastServer;
const errors: string[] = [];

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());
beforeEach(async () => {
  redis = await Redis.start();
  server = await RuncastServer.startOnRedis(redis.url, "heartbeat_s=1", "away_max_s=2");
});
afterEach(async () => {
  await server.stop();
  await redis.stop();
  expect(errors.splice(0)).toEqual([]);
});

const WAITS = "the server waits for its log; nothing is lost";
const offsets = (count: number) => Array.from({ length: count }, (_, at) => at + 1);
const started = { type: "run.started", data: { name: "Run", capabilities: ["pause"] } };

/** Publishes as a producer does that sends again what it has no answer to. */
async function publish(run: string, ...events: { type: string }[]): Promise<void> {
  const socket = new RuncastSocket({ url: server.url, WebSocket: NodeWebSocket });
  for (const event of events) await socket.publish(run, [event]);
  socket.close();
}

async function isNotFrozen(page: Page): Promise<void> {
  const longest = await page.evaluate(() => Math.max(0, ...window.longTasksMs));
  expect(longest).toBeLessThan(LONG_TASK_MS_MAX);
}

it("a run's page, the list and the inbox say so, and go on without a gap or a double", async () => {
  await server.publish("r", started, ...lines(1, 50));
  const run = await open(browser, `${server.url}/runs/r`, errors);
  const list = await open(browser, server.url, errors);
  const inbox = await open(browser, `${server.url}/inbox`, errors);
  await phase(run, "live");
  await row(run, "line 50");
  await list.waitForSelector(".run-name >> text=Run");
  await redis.kill();
  await phase(run, "away");
  expect(await run.textContent(".connection")).toBe(WAITS);
  for (const page of [list, inbox]) await page.waitForSelector(`.banner >> text=${WAITS}`);
  expect(await list.isVisible(".table.is-stale")).toBe(false);
  const published = publish("r", ...lines(51, 100), { type: "run.completed" });
  await redis.restart();
  await published;
  await phase(run, "ended");
  await run.waitForSelector(".badge >> text=completed");
  await list.waitForSelector(".badge >> text=completed");
  for (const page of [list, inbox]) await page.waitForSelector(".banner", { state: "detached" });
  const read = (await readAll(run)).filter((text) => text.includes(" line "));
  expect(read).toEqual(offsets(100).map((number) => `${number + 1} line ${number}`));
  for (const page of [run, list, inbox]) {
    await isNotFrozen(page);
    await page.close();
  }
});

it("a plain EventSource stays open over it, is told, and loses and doubles nothing", async () => {
  await server.publish("r", started);
  const page = await browser.newPage();
  await page.goto(`${server.url}/openapi.json`);
  await page.evaluate(() => {
    const heard = { opened: 0, away: 0, offsets: [] as number[], ends: 0 };
    const source = new EventSource("/v1/runs/r/events");
    source.onopen = () => {
      heard.opened += 1;
    };
    source.onmessage = ({ data }) => heard.offsets.push(JSON.parse(data).offset);
    source.addEventListener("away", () => {
      heard.away += 1;
    });
    source.addEventListener("end", () => {
      heard.ends += 1;
    });
    Object.assign(window, { told: { heard, source } });
  });
  const heard = () => page.evaluate(() => (window as never as Told).told.heard);
  await expect.poll(heard).toMatchObject({ opened: 1, offsets: [1] });
  await redis.kill();
  await page.waitForFunction(() => (window as never as Told).told.heard.away >= 2);
  expect(await page.evaluate(() => (window as never as Told).told.source.readyState)).toBe(1);
  await redis.restart();
  await publish("r", ...lines(1, 20), { type: "run.completed" });
  await expect.poll(heard).toMatchObject({ opened: 1, offsets: offsets(22), ends: 1 });
  await page.close();
});

interface Told {
  readonly told: {
    readonly heard: { readonly away: number; readonly opened: number };
    readonly source: EventSource;
  };
}

it.each(["SSE", "WebSocket"])("a follower over %s is away, then live, and goes on", async (how) => {
  await server.publish("r", started);
  const phases: FollowState["phase"][] = [];
  const onState = (state: FollowState) => phases.push(state.phase);
  // A quiet run: over a WebSocket, only that it is not told of any more says that it is over.
  const socket = new RuncastSocket({ url: server.url, WebSocket: NodeWebSocket, ping_ms: 1_500 });
  const client = new Client({ url: server.url });
  const followed =
    how === "SSE" ? client.follow("r", { onState }) : socket.follow("r", { onState });
  const seen: number[] = [];
  const reading = (async () => {
    for await (const item of followed) if (item.kind === "event") seen.push(item.event.offset);
  })();
  const becomes = (wanted: string) => expect.poll(() => followed.state.phase).toBe(wanted);
  await becomes("live");
  await redis.kill();
  await becomes("away");
  await redis.restart();
  await becomes("live");
  await publish("r", ...lines(1, 20), { type: "run.completed" });
  await reading;
  socket.close();
  expect(seen).toEqual(offsets(22));
  expect(phases).not.toContain("reconnecting");
});

it("a page that comes while it is away says so, asks with a backoff, and then has it all", async () => {
  await server.publish("r", started, ...lines(1, 30));
  const client = new Client({ url: server.url });
  // What it lists, it has read from the log before.
  await client.list();
  await redis.kill();
  const refused = await client.page("r").catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(ProblemError);
  expect(refused).toMatchObject({ code: "log_unavailable", isTransient: true });
  const page = await open(browser, `${server.url}/runs/r`, errors);
  let asked = 0;
  page.on("request", (request) => {
    if (new URL(request.url()).pathname === "/v1/runs/r") asked += 1;
  });
  await phase(page, "reconnecting");
  expect(await page.textContent(".connection [role=status]")).toBe(WAITS);
  const list = await open(browser, server.url, errors);
  await list.waitForSelector(`.banner >> text=${WAITS}`);
  // A second or more an answer, and a wait behind each.
  expect(asked).toBeLessThan(10);
  await redis.restart();
  await phase(page, "live");
  await row(page, "line 30");
  await list.waitForSelector(".banner", { state: "detached" });
  await page.close();
  await list.close();
});

it("what is looked at, found or asked meanwhile comes when it is back", async () => {
  await server.publish("r", started);
  await server.fill("r", 3_000, (offset) => lines(offset, offset)[0] ?? { type: "output" });
  const page = await open(browser, `${server.url}/runs/r`, errors);
  await phase(page, "live");
  await row(page, "line 3000");
  await redis.kill();
  await phase(page, "away");
  let asked = 0;
  page.on("request", () => {
    asked += 1;
  });
  await page.click("button >> text=Pause");
  await page.waitForSelector("text=Pause: the log cannot be reached now");
  await page.evaluate(() => {
    const log = document.querySelector(".log");
    if (log) log.scrollTop = 0;
  });
  await page.waitForSelector(".hole");
  await page.fill("[type=search]", "line 1234");
  await page.waitForSelector(".found >> text=waiting for the server");
  expect(asked).toBeLessThan(20);
  await redis.restart();
  await page.waitForSelector(".found >> text=/^1 event found$/");
  await page.fill("[type=search]", "");
  await row(page, "line 1");
  await phase(page, "live");
  // It was not asked for while nobody could: the same again is one command.
  await page.click("button >> text=Pause");
  await page.waitForSelector("text=delivered");
  const { commands } = await new Client({ url: server.url }).get("r");
  expect(commands).toHaveLength(1);
  await isNotFrozen(page);
  await page.close();
});
