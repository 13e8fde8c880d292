import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { Agent, Moment } from "./agent.ts";
import { launch, open, phase } from "./browser.ts";
import { RuncastServer } from "./server.ts";

let browser: Browser;
let server: RuncastServer;
const errors: string[] = [];

beforeAll(async () => {
  browser = await launch();
  server = await RuncastServer.start();
});
afterEach(() => expect(errors.splice(0)).toEqual([]));
afterAll(async () => {
  await browser.close();
  await server.stop();
});

const pressable = (page: Page) =>
  page.$$eval(".controls .button:not(.control-set)", (buttons) =>
    buttons.filter((it) => it.ariaDisabled !== "true").map((it) => it.textContent),
  );
const point = (page: Page, command: string, name: string, state = "passed") =>
  page.waitForSelector(`[data-command="${command}"] [data-point="${name}"].is-${state}`);
const badge = (page: Page, text: string) => page.waitForSelector(`.badge >> text=${text}`);

it("a run is paused, resumed and stopped from its page", async () => {
  const types = { pause: "run.paused", resume: "run.resumed", stop: "run.cancelled" } as const;
  const agent = await Agent.start(server, "obeys", (it) => async ({ id, name }) => {
    await it.carryOut(id, types[name as "pause"]);
  });
  const page = await open(browser, `${server.url}/runs/obeys`, errors);
  await badge(page, "running");
  await expect.poll(() => pressable(page)).toEqual(["Pause", "Stop"]);
  await page.click(".control-pause");
  await badge(page, "paused");
  await point(page, "pause", "delivered");
  await point(page, "pause", "done");
  await page.waitForSelector('.control-resume[aria-disabled="false"]');
  await expect.poll(() => pressable(page)).toEqual(["Resume", "Stop"]);
  await page.click(".control-resume");
  await badge(page, "running");
  await point(page, "resume", "done");
  await page.click(".control-stop");
  await page.waitForSelector(".confirm >> text=Stop this run for good?");
  await page.click(".confirm >> text=Let it run");
  expect((await agent.client.get("obeys")).status).toBe("running");
  await page.click(".control-stop");
  await page.click(".confirm >> text=Stop it");
  await badge(page, "cancelled");
  await phase(page, "ended");
  await expect.poll(() => page.locator(".controls").count()).toBe(0);
  await agent.stop();
  await page.close();
});

it("what somebody else asked is seen on the way, and a refusal with its reason", async () => {
  const taken = new Moment();
  const refused = new Moment();
  const agent = await Agent.start(server, "slow", (it) => async ({ id }) => {
    await taken.promise;
    await it.say(id, { status: "delivered" });
    await refused.promise;
    await it.say(id, { status: "refused", reason: "in the middle of a payment" });
  });
  const page = await open(browser, `${server.url}/runs/slow`, errors);
  await badge(page, "running");
  await agent.client.command("slow", { name: "stop", by: "ada", reason: "too dear" });
  await badge(page, "cancelling");
  await point(page, "stop", "delivered", "awaited");
  await expect.poll(() => page.textContent('[data-command="stop"]')).toContain("by ada");
  await expect.poll(() => page.textContent(".control-stop")).toBe("Stopping…");
  await expect.poll(() => pressable(page)).toEqual([]);
  await page.press(".control-pause", "Enter");
  await page.waitForSelector(".controls-said >> text=Pause: the run is being stopped");
  taken.come();
  await point(page, "stop", "delivered");
  refused.come();
  await point(page, "stop", "refused", "failed");
  await badge(page, "running");
  await expect
    .poll(() => page.textContent('[data-command="stop"]'))
    .toContain("in the middle of a payment");
  await agent.stop();
  await page.close();
});

it("what the server refuses is said where the click was", async () => {
  const agent = await Agent.start(server, "gone", () => async () => {});
  const page = await open(browser, `${server.url}/runs/gone`, errors);
  await badge(page, "running");
  // The page has not heard yet that the run is over.
  await page.route("**/v1/runs/gone/commands", async (route) => {
    await server.publish("gone", { type: "run.completed" });
    await route.continue();
  });
  const answered = page.waitForResponse("**/v1/runs/gone/commands");
  await page.click(".control-pause");
  expect((await answered).status()).toBe(409);
  await badge(page, "completed");
  await page.waitForSelector(".controls-said >> text=Pause: ");
  await expect.poll(() => pressable(page)).toEqual([]);
  await agent.stop();
  await page.close();
});

it("a command that nobody carries out expires", async () => {
  const agent = await Agent.start(server, "deaf", () => async () => {});
  const page = await open(browser, `${server.url}/runs/deaf`, errors);
  await badge(page, "running");
  await agent.client.command("deaf", { name: "pause", timeout_ms: 300 });
  await point(page, "pause", "expired", "failed");
  await expect.poll(() => pressable(page)).toEqual(["Pause", "Stop"]);
  await agent.stop();
  await page.close();
});
