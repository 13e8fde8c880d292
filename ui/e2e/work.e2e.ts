import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { LONG_TASK_MS_MAX, launch, open, row, rows } from "./browser.ts";
import { type Draft, lines, output, RuncastServer } from "./server.ts";

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

/** Long enough ago for what is told. */
const T0 = Date.now() - 110_000;
const at = (second: number) => new Date(T0 + second * 1_000).toISOString();
const event = (type: string, second: number, rest: object = {}): Draft => ({
  type,
  time: at(second),
  ...rest,
});
const texts = (page: Page, selector: string) =>
  page.$$eval(selector, (found) => found.map((it) => (it as HTMLElement).innerText.trim()));
const rowOf = (page: Page, step: string) => page.locator(`.step[data-step="${step}"]`);
const query = (page: Page) => new URL(page.url()).search;

/** A run of three stages, with steps in steps, that has ended badly. */
const REPORT: readonly Draft[] = [
  event("run.started", 0, { data: { name: "Report", stages: ["plan", "write", "send"] } }),
  event("stage.started", 0, { stage: "plan" }),
  event("output", 1, { stage: "plan", data: { text: "thinking\n", stream: "stdout" } }),
  event("stage.completed", 10, { stage: "plan" }),
  // By its number: the same stage as by its name.
  event("stage.started", 10, { stage: 2 }),
  event("step.started", 10, { stage: "write", step: "collect", data: { name: "Collect" } }),
  event("step.started", 12, { step: "fetch", data: { name: "Fetch", parent: "collect" } }),
  event("output", 13, { step: "fetch", data: { text: "tok", stream: "stdout" } }),
  event("output", 13, { step: "fetch", data: { text: "en\n", stream: "stdout" } }),
  event("step.failed", 20, { step: "fetch", data: { error: { message: "no network" } } }),
  event("step.started", 30, { step: "fetch", data: { input: { url: "x" } } }),
  event("step.progress", 35, { step: "fetch", data: { current: 3, total: 4, message: "page 3" } }),
  event("step.completed", 40, { step: "fetch", data: { output: { rows: 7 } } }),
  event("step.completed", 50, { step: "collect" }),
  event("step.started", 50, { step: "draft", data: { name: "Draft" } }),
  event("step.failed", 90, { step: "draft", data: { error: "out of words" } }),
  event("stage.failed", 90, { stage: "write", data: { error: "out of words" } }),
  event("run.failed", 100, { data: { exit_code: 1, output: { pages: 3 }, error: "out of words" } }),
];

it("a run's stages are a stepper with what is done and how long it took", async () => {
  await server.publish("stepper", ...REPORT.slice(0, 4), event("stage.started", 10, { stage: 2 }));
  const page = await open(browser, `${server.url}/runs/stepper`, errors);
  await page.waitForSelector(".stage.is-running");
  await expect.poll(() => texts(page, ".stage-name")).toEqual(["plan", "write", "send"]);
  expect((await texts(page, ".stage.is-completed"))[0]).toMatch(/100 %[\s\S]*10\.0 s$/);
  await expect.poll(() => texts(page, "[aria-current=step] .stage-name")).toEqual(["write"]);
  // The stage at work ticks.
  const took = page.locator(".stage.is-running .stage-took");
  const before = await took.innerText();
  await page.waitForFunction(
    (was) => document.querySelector(".stage.is-running .stage-took")?.textContent !== was,
    before,
  );
  await server.publish("stepper", event("step.started", 11, { stage: "write", step: "a" }));
  await server.publish("stepper", event("step.completed", 12, { stage: "write", step: "a" }));
  await server.publish("stepper", event("step.started", 12, { stage: "write", step: "b" }));
  await page.waitForSelector(".stage.is-running .stage-facts >> text=50 %");
  await server.publish(
    "stepper",
    event("stage.failed", 20, { stage: "write", data: { error: "x" } }),
  );
  await page.waitForSelector(".stage.is-failed");
  await page.close();
});

it("a click on a stage filters the log, and the address has the filter", async () => {
  await server.publish("staged", ...REPORT);
  const page = await open(browser, `${server.url}/runs/staged`, errors);
  await page.click(".stage-button >> text=write");
  await page.waitForSelector(".filter-bar >> text=write");
  // By name and by number.
  await row(page, "stage.started  2");
  expect((await rows(page)).map((text) => text.split("  ")[0])).toEqual([
    "stage.started",
    "step.started",
    "stage.failed",
  ]);
  await expect.poll(() => query(page)).toBe("?stage=write&stage=2");
  await page.reload();
  await row(page, "stage.started  2");
  await expect
    .poll(() => page.locator('.stage-button[aria-pressed="true"]').innerText())
    .toContain("write");
  await page.click(".filter-bar .remove");
  await page.waitForSelector(".filter-bar", { state: "detached" });
  await row(page, "thinking");
  await expect.poll(() => query(page)).toBe("");
  await page.close();
});

it("its steps are a tree with a time line, attempts, progress and errors", async () => {
  await server.publish("tree", ...REPORT.slice(0, 12));
  const page = await open(browser, `${server.url}/runs/tree`, errors);
  await rowOf(page, "fetch").waitFor();
  await expect.poll(() => texts(page, ".step-name")).toEqual(["Collect", "Fetch"]);
  await expect.poll(() => rowOf(page, "fetch").innerText()).toMatch(/attempt 2[\s\S]*75 %/);
  await expect
    .poll(() => rowOf(page, "fetch").locator(".step-note").innerText())
    .toBe("3/4 · page 3");
  await server.publish("tree", ...REPORT.slice(12));
  await page.waitForSelector('.step[data-step="draft"].is-failed');
  await expect
    .poll(() => rowOf(page, "draft").locator(".step-note").innerText())
    .toBe("out of words");
  await expect.poll(() => rowOf(page, "fetch").locator(".step-took").innerText()).toBe("10.0 s");
  // A bar for each attempt, where it was in the run's 100 seconds.
  const bars = await rowOf(page, "fetch")
    .locator(".bar")
    .evaluateAll((bars) => bars.map((bar) => [bar.style.left, bar.style.width]));
  expect(bars).toEqual([
    ["12%", "8%"],
    ["30%", "10%"],
  ]);
  const indent = (step: string) =>
    rowOf(page, step)
      .locator(".mark")
      .evaluate((mark) => mark.getBoundingClientRect().left);
  await expect.poll(() => indent("fetch")).toBeGreaterThan(await indent("collect"));
  await page.click(".fold[aria-expanded=true]");
  await expect.poll(() => texts(page, ".step-name")).toEqual(["Collect", "Draft"]);
  await page.click(".fold[aria-expanded=false]");
  await page.close();
});

it("a click on a step filters the log and tells more of it, as a link to it does", async () => {
  await server.publish("stepped", ...REPORT);
  const page = await open(browser, `${server.url}/runs/stepped`, errors);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await rowOf(page, "fetch").locator(".step-button").click();
  await row(page, "token");
  expect((await rows(page)).at(-1)).toContain("step.completed  fetch");
  await expect.poll(() => texts(page, ".found")).toEqual(["7 events found"]);
  await expect.poll(() => page.textContent(".attempts")).toContain("no network");
  await expect.poll(() => texts(page, ".step-details .value-name")).toEqual(["Input", "Output"]);
  await page.click(".step-details >> text=copy link");
  const link = await page.evaluate(() => navigator.clipboard.readText());
  expect(link).toBe(`${server.url}/runs/stepped?step=fetch`);
  const other = await open(browser, link, errors);
  await other.waitForSelector('.step.is-chosen[data-step="fetch"]');
  await row(other, "token");
  // With a text too.
  await other.fill(".tools .field", "tok");
  await other.waitForSelector(".found >> text=/^1 event found$/");
  expect(query(other)).toBe("?step=fetch&find=tok");
  await other.click(".filter-bar >> text=Show all");
  await other.waitForSelector(".step.is-chosen", { state: "detached" });
  await row(other, "thinking");
  await expect.poll(() => other.inputValue(".tools .field")).toBe("");
  for (const it of [page, other]) await it.close();
});

it("what comes is shown in a filtered log too, but nothing else", async () => {
  await server.publish("filtered", event("step.started", 0, { step: "a" }));
  const page = await open(browser, `${server.url}/runs/filtered?step=a`, errors);
  await row(page, "step.started  a");
  await server.publish(
    "filtered",
    { ...output("of b\n"), step: "b" },
    { ...output("of a, "), step: "a" },
    output("of nobody\n"),
    { ...output("in pieces\n"), step: "a" },
  );
  await row(page, "of a, in pieces");
  await expect.poll(() => rows(page)).toEqual(["step.started  a", "of a, in pieces"]);
  await page.close();
});

it("a link to a step far down, and one to an event, show it", async () => {
  const many = Array.from({ length: 300 }, (_, n) => event("step.skipped", n, { step: `s${n}` }));
  await server.publish("deep", ...many, ...lines(1, 700));
  const page = await open(browser, `${server.url}/runs/deep?step=s290`, errors);
  const isSeen = (selector: string) =>
    page.waitForFunction((selector) => {
      const box = document.querySelector(selector)?.getBoundingClientRect();
      return box !== undefined && box.top >= 0 && box.bottom <= innerHeight;
    }, selector);
  await isSeen('.step.is-chosen[data-step="s290"]');
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.click(".row[data-offset='291']");
  await page.click(".opened >> text=Copy link");
  const link = await page.evaluate(() => navigator.clipboard.readText());
  expect(link).toBe(`${server.url}/runs/deep#291`);
  await page.goto("about:blank");
  await page.goto(link);
  await isSeen(".row.is-target[data-offset='291']");
  await page.close();
});

it("calls of tools are folded, messages are whole, and the result is there", async () => {
  await server.publish(
    "talks",
    event("run.started", 0),
    event("tool.called", 1, {
      step: "s",
      data: { call: "c1", tool: "search", args: { q: "a<b" } },
    }),
    event("tool.completed", 3, { data: { call: "c1", result: { hits: 2 } } }),
    event("tool.called", 4, { data: { call: "c2", tool: "fetch" } }),
    event("tool.args", 4, { data: { call: "c2", text: '{"url":' } }),
    event("tool.args", 4, { data: { call: "c2", text: '"http://x"}' } }),
    event("tool.failed", 5, { data: { call: "c2", error: { message: "refused" } } }),
    event("message.started", 6, { data: { message: "m", role: "assistant" } }),
    ...["It ", "is <b>", "so</b>.\n", "Really."].map((text) =>
      event("message.delta", 6, { data: { message: "m", text } }),
    ),
  );
  const page = await open(browser, `${server.url}/runs/talks`, errors);
  await page.waitForSelector(".call.is-failed");
  await expect.poll(() => texts(page, ".call-tool")).toEqual(["search", "fetch"]);
  await expect.poll(() => texts(page, ".call-took")).toEqual(["2.0 s", "1.0 s"]);
  await expect.poll(() => texts(page, ".call-error")).toEqual(["refused"]);
  await expect.poll(() => page.locator(".call-open").count()).toBe(0);
  await page.click(".call-button >> text=search");
  await expect
    .poll(() => texts(page, ".call-open .value-text"))
    .toEqual(['{\n  "q": "a<b"\n}', '{\n  "hits": 2\n}']);
  await page.click(".call-button >> text=fetch");
  await page.waitForSelector('.call-open .value-text >> text={"url":"http://x"}');
  await page.click(".call[data-call=c2] >> text=find in log");
  await page.waitForSelector(".found >> text=/^4 events found$/");
  await page.click("#tab-messages");
  await expect.poll(() => texts(page, ".message-text")).toEqual(["It is <b>so</b>.\nReally."]);
  await expect.poll(() => page.textContent(".message-status")).toBe("streaming");
  await server.publish("talks", event("run.completed", 9, { data: { output: "all <i>done</i>" } }));
  await page.click("#tab-result");
  await expect.poll(() => texts(page, ".work .value-text")).toEqual(["all <i>done</i>"]);
  await page.close();
});

it("names with markup and texts with control characters are shown as what they are", async () => {
  const name = `<img src=x onerror="alert(1)">\u202Egnp.exe & "quoted" ${"😀".repeat(5)}`;
  await server.publish(
    "hostile",
    event("run.started", 0, {
      data: { name, stages: [name.slice(0, 60), "<script>alert(1)</script>"] },
    }),
    event("step.started", 1, {
      step: "s",
      stage: 2,
      data: { name, input: "</pre><script>alert(1)" },
    }),
    event("tool.called", 1, {
      step: "s",
      data: { call: "c", tool: name.slice(0, 60), args: name },
    }),
    event("message.delta", 1, { data: { message: "m", text: `${name}\x1b[31m\x00\x07` } }),
    event("step.failed", 2, { step: "s", data: { error: "a\x00b\x1b]0;x\x07\nc\u202Ed" } }),
  );
  const page = await open(browser, `${server.url}/runs/hostile?step=s&variation=%3Cb%3E`, errors);
  await page.waitForSelector(".step.is-failed");
  expect((await texts(page, ".step-name"))[0]).toContain("<img src=x");
  expect((await texts(page, ".step-note"))[0]).not.toMatch(/[\x00-\x1f\u202e]/);
  await page.click(".filter-part:has-text('<b>') .remove");
  await page.waitForSelector(".step.is-chosen");
  await expect
    .poll(() => texts(page, ".step-details .value-text"))
    .toContain("</pre><script>alert(1)");
  expect((await texts(page, ".stage-name"))[1]).toBe("<script>alert(1)</script>");
  for (const tab of ["tools", "messages"]) await page.click(`#tab-${tab}`);
  expect((await texts(page, ".message-text"))[0]).not.toMatch(/[\x00\x07\x1b\u202e]/);
  await expect.poll(() => page.evaluate(() => window.alerts)).toBe(0);
  await expect.poll(() => page.locator("#app img, #app script").count()).toBe(0);
  await page.close();
});

it("500 steps and 200 calls with long names, live, do not hold the page up", async () => {
  const name = (n: number) => `${n} ${"a very long name of a step ".repeat(4)}`.slice(0, 120);
  const step = (n: number): Draft[] => [
    event("step.started", n / 5, {
      step: `s${n}`,
      data: { name: name(n), ...(n % 10 === 0 ? {} : { parent: `s${n - (n % 10)}` }) },
    }),
    { ...output(`working on ${n}\n`), step: `s${n}` },
    ...(n % 3 === 0 ? [] : [event("step.completed", n / 5 + 1, { step: `s${n}` })]),
  ];
  const call = (n: number): Draft =>
    event("tool.called", n / 5, { data: { call: `c${n}`, tool: name(n), args: { n } } });
  await server.publish("large", event("run.started", 0), ...[1, 2, 3].flatMap(step));
  const page = await open(browser, `${server.url}/runs/large`, errors);
  await page.waitForSelector(".step");
  await page.evaluate(() => window.longTasksMs.splice(0));
  for (let n = 4; n < 500; n += 16) {
    const some = Array.from({ length: Math.min(16, 500 - n) }, (_, more) => n + more);
    await server.publish(
      "large",
      ...some.flatMap(step),
      ...some.filter((it) => it < 204).map(call),
    );
  }
  await page.waitForFunction(() => document.querySelectorAll(".step").length === 499);
  await page.waitForSelector("#tab-tools >> text=/200$/");
  // Those at work tick.
  const took = page.locator(".step-took").last();
  const before = await took.innerText();
  await page.waitForFunction(
    (was) => [...document.querySelectorAll(".step-took")].at(-1)?.textContent !== was,
    before,
  );
  await page.click("#tab-tools");
  await page.waitForFunction(() => document.querySelectorAll(".call").length === 200);
  const longest = Math.max(0, ...(await page.evaluate(() => window.longTasksMs)));
  console.log(`500 steps, 200 calls: longest task ${longest} ms`);
  expect(longest).toBeLessThan(LONG_TASK_MS_MAX);
  await expect.poll(() => page.evaluate(() => document.documentElement.scrollWidth)).toBe(1280);
  for (const width of [1280, 375]) {
    await page.setViewportSize({ width, height: 760 });
    await page.click("#tab-steps");
    await page.waitForSelector(".step");
    await expect.poll(() => page.evaluate(() => document.documentElement.scrollWidth)).toBe(width);
  }
  await page.close();
});

it("on a narrow screen the log is one of the tabs, and follows while the window changes", async () => {
  await server.publish("phone", ...REPORT.slice(0, -1), ...lines(1, 100));
  const page = await open(browser, `${server.url}/runs/phone`, errors);
  await page.setViewportSize({ width: 375, height: 700 });
  await row(page, "line 100");
  await expect.poll(() => page.locator(".tab[aria-selected=true]").innerText()).toBe("Log");
  await page.setViewportSize({ width: 375, height: 860 });
  await page.click("#tab-steps");
  await rowOf(page, "draft").waitFor();
  await expect.poll(() => page.isVisible(".log")).toBe(false);
  await server.publish("phone", ...lines(101, 120));
  await page.click(".stage-button >> text=plan");
  await row(page, "thinking");
  await expect.poll(() => page.isVisible(".log")).toBe(true);
  await page.click(".filter-bar >> text=Show all");
  await row(page, "line 120");
  await expect.poll(() => page.locator(".jump").count()).toBe(0);
  await page.close();
});
