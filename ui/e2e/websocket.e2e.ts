import { RuncastSocket, type Subscription } from "@runcast/core";
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { WebSocket as NodeWebSocket } from "ws";
import { launch } from "./browser.ts";
import { RuncastServer } from "./server.ts";

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

const RUNS = ["a", "b", "c"];
const EVENTS = 300;
const KILLS = 5;

/** The numbers that a reader sees, to the run's end. */
async function numbers(subscription: Subscription): Promise<unknown[]> {
  const seen: unknown[] = [];
  for await (const item of subscription) {
    if (item.kind === "gap" || item.kind === "deleted") throw new Error(item.kind);
    if (item.kind === "event" && item.event.type === "a.b") seen.push(item.event.data);
  }
  return seen;
}

it("what is published and followed over a WebSocket is there once, through kill -9", async () => {
  const backoff = { base_ms: 20, max_ms: 100 };
  const options = { url: server.url, WebSocket: NodeWebSocket, backoff };
  const writer = new RuncastSocket(options);
  const reader = new RuncastSocket(options);
  const followed = RUNS.map((run) => numbers(reader.follow(run)));
  let answered = 0;
  const publishing = RUNS.map(async (run) => {
    for (let number = 0; number < EVENTS; number += 1) {
      await writer.publish(run, [{ type: "a.b", data: number }]);
      answered += 1;
    }
    await writer.publish(run, [{ type: "run.completed" }]);
  });
  for (let kill = 1; kill <= KILLS; kill += 1) {
    const enough = (RUNS.length * EVENTS * kill) / (KILLS + 1);
    while (answered < enough) await new Promise(setImmediate);
    await server.restart();
  }
  await Promise.all(publishing);
  const expected = Array.from({ length: EVENTS }, (_, at) => at);
  for (const seen of await Promise.all(followed)) expect(seen).toEqual(expected);
  reader.close();
  writer.close();
});

it("no data can forge a message that a browser reads", async () => {
  const page = await browser.newPage();
  await page.goto(`${server.url}/openapi.json`);
  const controls = Array.from({ length: 32 }, (_, code) => String.fromCharCode(code)).join("");
  const text = `"}]}${controls}\x7f\u0085\u2028\u2029\u0081\x05hello\ufeff{"type":"end"}`;
  const event = { type: "output", step: `"}\u2028`, data: { text, more: { [text]: text } } };
  await server.publish("forged", event, event, { type: "run.completed" });
  const messages = await page.evaluate(async () => {
    const socket = new WebSocket(`ws://${location.host}/v1/ws`, "runcast.v1");
    await new Promise((resolve) => {
      socket.onopen = resolve;
    });
    const all: { type: string; events?: { data: unknown; step: string }[] }[] = [];
    const ended = new Promise<void>((resolve) => {
      socket.onmessage = ({ data }) => {
        all.push(JSON.parse(data));
        if (all.at(-1)?.type === "end") resolve();
      };
    });
    socket.send(JSON.stringify({ type: "subscribe", run: "forged" }));
    await ended;
    const closed = new Promise<CloseEvent>((resolve) => {
      socket.onclose = resolve;
    });
    socket.close(1000);
    const { code, wasClean } = await closed;
    return { all, code, wasClean };
  });
  expect(messages).toMatchObject({ code: 1000, wasClean: true });
  expect(messages.all.map(({ type }) => type)).toEqual(["subscribed", "events", "end"]);
  const events = messages.all[1]?.events ?? [];
  expect(events).toHaveLength(3);
  expect(events[0]).toMatchObject({ step: event.step, data: event.data });
  expect(events[1]).toMatchObject({ step: event.step, data: event.data });
  await page.close();
});
