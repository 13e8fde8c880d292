import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
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

it("a plain EventSource resumes across a restart, and stops asking after the end", async () => {
  await server.publish("plain", ...lines(1, 50));
  const page = await browser.newPage();
  await page.goto(`${server.url}/openapi.json`);
  const requests: string[] = [];
  page.on("request", (request) => requests.push(request.url()));
  const answers: number[] = [];
  page.on("response", (response) => answers.push(response.status()));
  await page.evaluate(() => {
    const state = { seen: [] as number[], ended: false, states: [] as number[] };
    Object.assign(window, { state });
    const source = new EventSource("/v1/runs/plain/events");
    source.onmessage = (message) => state.seen.push(JSON.parse(message.data).offset);
    source.addEventListener("end", () => {
      state.ended = true;
    });
    source.onerror = () => state.states.push(source.readyState);
  });
  const seen = () =>
    page.evaluate(() => (window as never as { state: { seen: number[] } }).state.seen);
  const until = (count: number) =>
    page.waitForFunction(
      (wanted) => (window as never as { state: { seen: number[] } }).state.seen.length >= wanted,
      count,
    );
  await until(50);
  await server.restart();
  await server.publish("plain", ...lines(51, 100));
  await until(100);
  await server.publish("plain", { type: "run.completed" });
  await until(101);
  // The browser asks once more, is told that there is nothing more, and never asks again.
  await page.waitForFunction(() =>
    (window as never as { state: { states: number[] } }).state.states.includes(2),
  );
  expect(answers.at(-1)).toBe(204);
  const asked = requests.length;
  const longerThanItWaits = page.waitForEvent("request", { timeout: 6_000 }).catch(() => "none");
  expect(await longerThanItWaits).toBe("none");
  expect(requests.length).toBe(asked);
  expect(await seen()).toEqual(Array.from({ length: 101 }, (_, at) => at + 1));
  await page.close();
});
