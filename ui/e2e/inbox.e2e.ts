import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { launch, open } from "./browser.ts";
import { type Draft, RuncastServer } from "./server.ts";

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

const asks = (input: string, more: object): Draft => ({
  type: "input.requested",
  data: { input, prompt: `**${input}**?`, ...more },
});
const badge = (page: Page, count: number) =>
  page.waitForSelector(`.inbox-count >> text=/^${count}$/`);
const card = (input: string) => `[data-input="${input}"]`;
const answer = (run: string, input: string, body: object) =>
  fetch(`${server.url}/v1/runs/${run}/inputs/${input}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });

it("an inbox in which nothing waits says so, and fills by itself", async () => {
  await server.publish("one", { type: "run.started", data: { name: "Run one", workflow: "etl" } });
  const page = await open(browser, `${server.url}/inbox`, errors);
  await page.waitForSelector("text=Nothing waits for you");
  await expect.poll(() => page.locator(".inbox-count").count()).toBe(0);
  await server.publish("one", asks("first", { choices: ["yes", "no"], timeout_ms: 600_000 }));
  await page.waitForSelector(`${card("first")} strong >> text=first`);
  await badge(page, 1);
  await page.waitForFunction(() => document.title.startsWith("(1) Inbox"));
  await expect.poll(() => page.textContent(`${card("first")} .input-from`)).toContain("Run one");
  await expect.poll(() => page.textContent(`${card("first")} .input-left`)).toMatch(/^9 m \d\d s$/);
  // The second question of a run changes nothing that the feed tells of.
  await server.publish("one", asks("second", { schema: { type: "integer", minimum: 3 } }));
  await page.waitForSelector(card("second"));
  await badge(page, 2);
  await page.close();
});

it("questions of many runs are answered in the inbox, and what is wrong is said", async () => {
  const page = await open(browser, `${server.url}/inbox`, errors);
  await page.waitForSelector(card("second"));
  await expect
    .poll(() => page.$$eval(".input", (cards) => cards.map((it) => it.dataset.input)))
    .toEqual(["first", "second"]);
  await page.fill(".person", "ada");
  await page.fill(`${card("second")} .field`, "1");
  await page.click(`${card("second")} .answer-send .button`);
  await page.waitForSelector(`${card("second")} .fault`);
  await page.fill(`${card("second")} .field`, "4");
  await page.click(`${card("second")} .answer-send .button`);
  await page.waitForSelector(`${card("second")} .input-outcome >> text=answered by ada`);
  await badge(page, 1);
  // What another answers is seen, and stays where it is.
  await answer("one", "first", { answer: "no", by: "grace" });
  await page.waitForSelector(`${card("first")} .input-outcome >> text=answered by grace`);
  await page.waitForSelector(".inbox-count", { state: "detached" });
  await page.click(`${card("first")} .input-from a`);
  await page.waitForSelector("h1 >> text=Run one");
  await page.close();
});

it("an answer to a question that is closed meanwhile is told so", async () => {
  await server.publish("two", { type: "run.started" }, asks("race", { choices: ["a", "b"] }));
  const page = await open(browser, `${server.url}/inbox`, errors);
  await page.waitForSelector(card("race"));
  await page.route("**/inputs/race", async (route) => {
    await answer("two", "race", { answer: "a", by: "grace" });
    await route.continue();
  });
  await page.click(`${card("race")} >> text="b"`);
  await page.waitForSelector(`${card("race")} [role=alert] >> text=by grace`);
  await page.close();
});

it("every page has the number of open questions, also one of a run that ends", async () => {
  await server.publish("three", { type: "run.started" }, asks("open", {}));
  const pages = await Promise.all(
    ["/", "/runs/one", "/inbox"].map((path) => open(browser, server.url + path, errors)),
  );
  for (const page of pages) await badge(page, 1);
  await server.publish("three", { type: "run.failed" });
  for (const page of pages) await page.waitForSelector(".inbox-count", { state: "detached" });
  await pages[2]?.waitForSelector(`${card("open")} >> text=over: the run ended`);
  for (const page of pages) await page.close();
});

it("a run's page takes one connection only, so that a browser has room for many", async () => {
  const page = await open(browser, `${server.url}/inbox`, errors);
  const streams = new Set<string>();
  page.on("request", (request) => {
    const { pathname } = new URL(request.url());
    if (request.headers().accept === "text/event-stream") streams.add(pathname);
  });
  const over: string[] = [];
  page.on("requestfailed", (request) => over.push(new URL(request.url()).pathname));
  await server.publish("five", { type: "run.started", data: { name: "Five" } }, asks("five", {}));
  await page.click(`${card("five")} .input-from a`);
  await page.waitForSelector('.connection[data-phase="live"]');
  await badge(page, 1);
  // The inbox's own may have been opened late: it is over by now.
  const left = () => [...streams].filter((path) => !over.includes(path));
  await expect.poll(left).toEqual(["/v1/runs/five/events"]);
  expect(over).toContain("/v1/feed");
  await server.publish("five", { type: "run.completed" });
  await page.close();
});

it("a server that is away is said to be, and the inbox comes back by itself", async () => {
  const page = await open(browser, `${server.url}/inbox`, errors);
  await page.waitForSelector("text=Nothing waits for you");
  await server.kill();
  await page.waitForSelector(".banner >> text=The server does not answer");
  await server.restart();
  await page.waitForSelector(".banner", { state: "detached" });
  await server.publish("four", { type: "run.started" }, asks("back", {}));
  await page.waitForSelector(card("back"));
  await page.close();
});
