/** Bit rot, as a person sees it: a row says which events are gone, and all others are there. */

import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { launch, open, phase, readAll, row } from "./browser.ts";
import { lines, output, RuncastServer } from "./server.ts";

let browser: Browser;
let server: RuncastServer;

beforeAll(async () => {
  browser = await launch();
  server = await RuncastServer.start("wal_bytes_max=400000");
});
afterAll(async () => {
  await browser.close();
  await server.stop();
});

it("damaged events are a row of the log, and the rest of it is there and goes on", async () => {
  await server.publish("r", { type: "run.started", data: { name: "Nightly" } }, ...lines(2, 1_199));
  await server.publish("r", output("rotten\n"), ...lines(1_201, 2_500));
  while (!(await server.rot("rotten"))) await server.publish("filler", ...lines(1, 1_000));
  await server.restart();
  const response = await fetch(`${server.url}/v1/runs/r`);
  const { damaged } = (await response.json()) as { damaged: { from: number; to: number }[] };
  const [{ from, to } = { from: 0, to: 0 }] = damaged;
  expect(from > 1 && from <= 1_200 && to >= 1_200 && to < 2_500).toBe(true);

  const errors: string[] = [];
  const page = await open(browser, `${server.url}/runs/r`, errors);
  await phase(page, "live");
  await server.publish("r", output("still alive\n"));
  await row(page, "still alive");
  const { events } = (await (await fetch(`${server.url}/v1/runs/r`)).json()) as {
    events: { damaged: number };
  };
  expect(events.damaged).toBe(to - from + 1);
  expect(await page.textContent(".facts")).toContain("events cannot be read");

  const shown = await readAll(page);
  const texts = shown.map((row) => row.replace(/^\d+ /, "").trim());
  const all = Array.from({ length: 2_500 }, (_, at) => at + 1);
  const whole = all.filter((at) => at > 1 && (at < from || at > to)).map((at) => `line ${at}`);
  expect(texts.filter((text) => text.startsWith("line "))).toEqual(whole);
  const notes = texts.filter((text) => text.includes("damaged on the server’s disk"));
  const told = notes.flatMap((text) => text.match(/\d+/g)?.map(Number) ?? []);
  expect([told[0], told.at(-1)]).toEqual([from, to]);
  expect(errors).toEqual([]);
});
