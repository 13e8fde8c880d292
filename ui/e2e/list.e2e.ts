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

it("the list is asked for when the feed says so, and not otherwise", async () => {
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
