import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { launch, open } from "./browser.ts";
import { output, RuncastServer } from "./server.ts";

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

it("a server without runs shows the one command that makes one, and then the run", async () => {
  const page = await open(browser, server.url, errors);
  await page.waitForSelector("text=No runs yet");
  expect(await page.textContent(".command")).toBe("runcast exec -- python agent.py");
  const started = { type: "run.started", data: { name: "First", workflow: "etl", tags: ["gpu"] } };
  await server.publish("first", started);
  await page.waitForSelector(".run-name >> text=First");
  expect(await page.textContent(".badge")).toBe("running");
  expect(await page.textContent("tbody .cell-tags")).toBe("gpu");
  await server.publish("first", output("hello\n"), { type: "run.failed", data: { exit_code: 3 } });
  await page.waitForSelector(".badge >> text=failed");
  expect(await page.textContent(".run-reason")).toBe("exit code 3");
  expect(await page.textContent("td.cell-events")).toContain("3");
  await page.close();
});

it("the list is asked for once for each change that the feed tells of", async () => {
  const page = await open(browser, server.url, errors);
  const asked: string[] = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await page.waitForSelector(".run-name >> text=First");
  for (const name of ["Second", "Renamed", "Second"]) {
    const before = asked.filter((path) => path === "/v1/runs").length;
    await server.publish("other", { type: "run.updated", data: { name } });
    await page.waitForSelector(`.run-name >> text=${name}`);
    expect(asked.filter((path) => path === "/v1/runs").length).toBe(before + 1);
  }
  await page.close();
});

it("the count of an active run's events is shown, and goes on by itself", async () => {
  const page = await open(browser, server.url, errors);
  const counted = page.locator("tr", { hasText: "Second" }).locator(".cell-events");
  await counted.waitFor();
  expect(await counted.innerText()).toBe("3");
  // The feed does not tell of output.
  await server.publish("other", output("one\n"), output("two\n"));
  await page.waitForSelector("tr:has-text('Second') .cell-events >> text=/^5/");
  await page.close();
});

it("a run that was cancelled does not look like one that failed", async () => {
  const cancelled = { type: "run.cancelled", data: { status_reason: "by a person" } };
  await server.publish("cancelled", cancelled);
  const page = await open(browser, server.url, errors);
  const colour = (text: string) =>
    page.locator(".run-reason", { hasText: text }).evaluate((it) => getComputedStyle(it).color);
  await page.waitForSelector(".run-reason >> text=by a person");
  expect(await colour("by a person")).not.toBe(await colour("exit code 3"));
  await page.close();
  await server.remove("cancelled");
});

it("a phone shows why a run failed, and all tags that have no room are counted", async () => {
  const tags = Array.from({ length: 12 }, (_, at) => `tag-number-${at}`);
  const name = `${"A long name ".repeat(12)}end`;
  await server.publish("long", { type: "run.updated", data: { name, tags } });
  const page = await open(browser, server.url, errors);
  await page.waitForSelector(".tags-more >> text=+9");
  await page.setViewportSize({ width: 390, height: 844 });
  await page.waitForSelector(".run-reason >> text=exit code 3");
  expect(await page.isVisible(".run-reason")).toBe(true);
  const cells = await page.$$eval("tbody tr", (rows) => rows.map((row) => row.scrollWidth));
  for (const width of cells) expect(width).toBeLessThanOrEqual(390);
  await page.close();
  await server.remove("long");
});

it("the list is filtered by status and by text", async () => {
  const page = await open(browser, server.url, errors);
  await page.waitForSelector(".run-name >> text=Second");
  await page.click("text=Failed");
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
  expect(await page.textContent(".run-name")).toBe("First");
  await page.click(".segments >> text=All");
  await page.fill(".field", "sec");
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
  expect(await page.textContent(".run-name")).toBe("Second");
  await page.fill(".field", "nothing like it");
  await page.waitForSelector("text=No run matches");
  await page.close();
});

it("more runs than one page are loaded when asked for", async () => {
  for (let at = 0; at < 120; at += 1) await server.publish(`many-${at}`, output("x\n"));
  const page = await open(browser, server.url, errors);
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 100);
  await page.click("text=Load older runs");
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 122);
  expect(await page.isVisible("text=Load older runs")).toBe(false);
  await page.close();
});

it("a server that is away is said to be, and the list comes back by itself", async () => {
  const page = await open(browser, server.url, errors);
  await page.waitForSelector(".run-name");
  await server.kill();
  await page.waitForSelector(".banner >> text=The server does not answer");
  expect(await page.isVisible(".table.is-stale")).toBe(true);
  await server.restart();
  await page.waitForSelector(".banner", { state: "detached" });
  await page.close();
});
