import type { Browser, Page } from "playwright-core";
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
  await expect.poll(() => page.textContent(".command")).toBe("runcast exec -- python agent.py");
  const started = { type: "run.started", data: { name: "First", workflow: "etl", tags: ["gpu"] } };
  await server.publish("first", started);
  await page.waitForSelector(".run-name >> text=First");
  await expect.poll(() => page.textContent(".badge")).toBe("running");
  await expect.poll(() => page.textContent("tbody .cell-tags")).toBe("gpu");
  await server.publish("first", output("hello\n"), { type: "run.failed", data: { exit_code: 3 } });
  await page.waitForSelector(".badge >> text=failed");
  await expect.poll(() => page.textContent(".run-reason")).toBe("exit code 3");
  await expect.poll(() => page.textContent("td.cell-events")).toContain("3");
  await page.close();
});

it("the list is asked for once for each change that the feed tells of", async () => {
  const page = await open(browser, server.url, errors);
  const asked: string[] = [];
  page.on("request", (request) => {
    // The inbox asks for itself.
    const { pathname, searchParams } = new URL(request.url());
    if (!searchParams.has("input")) asked.push(pathname);
  });
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
  await expect.poll(() => counted.innerText()).toBe("3");
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
  await expect.poll(() => colour("by a person")).not.toBe(await colour("exit code 3"));
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
  await expect.poll(() => page.isVisible(".run-reason")).toBe(true);
  const cells = await page.$$eval("tbody tr", (rows) => rows.map((row) => row.scrollWidth));
  for (const width of cells) expect(width).toBeLessThanOrEqual(390);
  await page.close();
  await server.remove("long");
});

const names = (page: Page) =>
  page.$$eval(".run-name", (links) => links.map((link) => link.textContent));
const shows = (page: Page, wanted: readonly string[]) =>
  page.waitForFunction((wanted) => {
    const links = [...document.querySelectorAll(".run-name")].map((link) => link.textContent);
    return JSON.stringify(links) === wanted;
  }, JSON.stringify(wanted));
const segment = (page: Page, text: string) => page.locator(".statuses button", { hasText: text });

it("the list is filtered by status and by text, and the address has the filter", async () => {
  const page = await open(browser, server.url, errors);
  await page.waitForSelector(".run-name >> text=Second");
  await expect.poll(() => names(page)).toEqual(["Second", "First"]);
  await expect.poll(() => segment(page, "All").innerText()).toMatch(/2$/);
  await segment(page, "failed").click();
  await shows(page, ["First"]);
  await expect.poll(() => new URL(page.url()).search).toBe("?status=failed");
  // Counts are of all statuses, whichever is chosen.
  await expect.poll(() => segment(page, "running").innerText()).toMatch(/1$/);
  await segment(page, "Active").click();
  await shows(page, ["Second"]);
  await segment(page, "All").click();
  await page.fill(".top .field", "sec");
  await shows(page, ["Second"]);
  await expect.poll(() => new URL(page.url()).search).toBe("?text=sec");
  await page.fill(".top .field", "nothing like it");
  await page.waitForSelector("text=No run matches");
  await page.goto(`${server.url}/?text=firs&status=failed`);
  await shows(page, ["First"]);
  await expect.poll(() => page.inputValue(".top .field")).toBe("firs");
  await page.close();
});

it("the list is filtered by workflow, tag, step, time and open question", async () => {
  await server.publish(
    "broken",
    { type: "run.started", data: { name: "Broken", workflow: "ship", tags: ["eu", "blue"] } },
    { type: "step.failed", step: "load", data: { error: "no disk" } },
  );
  await server.publish(
    "asking",
    { type: "run.started", data: { name: "Asking", workflow: "ship", tags: ["eu"] } },
    { type: "input.requested", data: { input: "q", prompt: "Go on?" } },
  );
  const page = await open(browser, server.url, errors);
  await shows(page, ["Asking", "Broken", "Second", "First"]);
  await page.click(".more-filters >> text=Filters");
  await page.fill("[name=workflow]", "ship");
  await page.fill("[name=tag]", "blue");
  await page.click("text=Apply");
  await shows(page, ["Broken"]);
  await expect.poll(() => new URL(page.url()).search).toBe("?tag=blue&workflow=ship");
  await page.click(".filter-part:has-text('blue') .remove");
  await shows(page, ["Asking", "Broken"]);
  await page.selectOption("[name=step_status]", "failed");
  await shows(page, ["Broken"]);
  await page.selectOption("[name=step_status]", "");
  await page.check("text=Waits for an answer");
  await shows(page, ["Asking"]);
  await page.click("text=Clear all");
  await shows(page, ["Asking", "Broken", "Second", "First"]);
  await page.fill("[name=created_after]", "2999-01-01T00:00");
  await page.waitForSelector("text=No run matches");
  await page.fill("[name=created_after]", "2001-01-01T00:00");
  await page.dispatchEvent("[name=created_after]", "change");
  await shows(page, ["Asking", "Broken", "Second", "First"]);
  // A tag in the table leads to its runs.
  await page.click(".cell-tags .tag >> text=blue");
  await shows(page, ["Broken"]);
  await page.close();
});

it("a filter that the server does not take is said to be none", async () => {
  const page = await open(browser, `${server.url}/?status=wonderful`, errors);
  await page.waitForSelector(".banner >> text=The server does not take this filter");
  await page.click(".banner >> text=All runs");
  await page.waitForSelector(".run-name >> text=Second");
  await page.close();
});

it("a filtered list and its counts stay right while runs come and go", async () => {
  const page = await open(browser, `${server.url}/?tag=wave&status=completed`, errors);
  await page.waitForSelector("text=No run matches");
  const begin = (at: number) => ({ type: "run.started", data: { name: `W${at}`, tags: ["wave"] } });
  for (let at = 0; at < 8; at += 1) await server.publish(`wave-${at}`, begin(at));
  await segment(page, "running").filter({ hasText: /8$/ }).waitFor();
  for (const at of [1, 3, 5]) await server.publish(`wave-${at}`, { type: "run.completed" });
  await shows(page, ["W5", "W3", "W1"]);
  await expect.poll(() => segment(page, "running").innerText()).toMatch(/5$/);
  await expect.poll(() => segment(page, "completed").innerText()).toMatch(/3$/);
  await page.close();
  for (let at = 0; at < 8; at += 1) await server.remove(`wave-${at}`);
  for (const run of ["broken", "asking"]) await server.remove(run);
});

it("more runs than one page are loaded when asked for", async () => {
  for (let at = 0; at < 120; at += 1) await server.publish(`many-${at}`, output("x\n"));
  const page = await open(browser, server.url, errors);
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 100);
  await page.click("text=Load older runs");
  await page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 122);
  await expect.poll(() => page.isVisible("text=Load older runs")).toBe(false);
  await page.close();
});

it("a server that is away is said to be, and the list comes back by itself", async () => {
  const page = await open(browser, server.url, errors);
  await page.waitForSelector(".run-name");
  await server.kill();
  await page.waitForSelector(".banner >> text=The server does not answer");
  await expect.poll(() => page.isVisible(".table.is-stale")).toBe(true);
  await server.restart();
  await page.waitForSelector(".banner", { state: "detached" });
  await page.close();
});
