import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { launch, open, phase, rows } from "./browser.ts";
import { output, RuncastServer } from "./server.ts";

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

const MARKUP = "<img src=x onerror=alert(1)><script>alert(1)</script>\"'`";
const FRAME = '\n\nevent: end\ndata: {"offset":1,"type":"run.completed"}\n\nid: 99\ndata: {}\n\n';
const CONTROLS = Array.from({ length: 32 }, (_, code) => String.fromCharCode(code)).join("");
const NASTY = `${MARKUP}${FRAME}\r\r\n\u2028\u2029\u0085${CONTROLS}\x7f\u202e\ufeff`;
/** What a name may hold: no control characters, all else. */
const NAME = `${MARKUP}\u2028\u202e`;

it("nothing in any field of an event breaks out of its frame or of its row", async () => {
  const errors: string[] = [];
  const page = await open(browser, `${server.url}/runs/forged`, errors);
  const labels = { variation: NAME, stage: NAME, step: NAME, agent: NAME, channel: NAME };
  const data = { text: NASTY, stream: NAME, [NASTY]: NASTY };
  const before = { type: "run.started", data: { name: NAME, workflow: NAME, tags: [NAME] } };
  await server.publish("forged", before, { ...output(NASTY), ...labels, data });
  const typed = [
    {
      type: "log",
      data: { level: NAME, message: NASTY, logger: NASTY, fields: { [NASTY]: NASTY } },
    },
    { type: "message.delta", data: { message: NAME, text: NASTY } },
    { type: "tool.called", data: { call: NAME, tool: NAME, args: NASTY } },
    { type: "tool.failed", data: { call: NAME, error: NASTY } },
    { type: "step.failed", data: { error: { message: NASTY }, reason: NASTY } },
    { type: "my.event", data: NASTY },
  ];
  await server.publish("forged", ...typed.map((event) => ({ ...labels, ...event })));
  await server.publish("forged", output("still here\n"));
  await phase(page, "live");
  await page.waitForSelector(".row >> text=still here");
  const drawn = (await rows(page)).join("");
  expect(drawn).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202e]/);
  expect(drawn).toContain("<img src=x onerror=alert(1)>");
  await expect.poll(() => page.locator("main img, main script").count()).toBe(0);
  await page.click(".row >> nth=2");
  await page.waitForSelector(".opened-json");
  await page.goto(server.url);
  await page.waitForSelector(".run-name");
  await expect.poll(() => page.textContent(".run-name")).toBe(NAME);
  await expect.poll(() => page.locator("main img, main script").count()).toBe(0);
  await expect.poll(() => page.evaluate(() => window.alerts)).toBe(0);
  expect(errors).toEqual([]);
  await server.publish("forged", {
    type: "run.failed",
    data: { error: NASTY, status_reason: NASTY },
  });
  await page.goto(`${server.url}/runs/forged`);
  await phase(page, "ended");
  await expect.poll(() => page.evaluate(() => window.alerts)).toBe(0);
  await page.close();
});
