import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { launch, open, phase, readAll, row, rows } from "./browser.ts";
import { lines, output, RuncastServer } from "./server.ts";

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

it("a page that is there before the run shows it from its first event to its end", async () => {
  const page = await open(browser, `${server.url}/runs/early`, errors);
  await page.waitForSelector("text=Waiting for the first event");
  await server.publish("early", { type: "run.started", data: { name: "Early bird" } });
  await page.waitForSelector("h1 >> text=Early bird");
  await phase(page, "live");
  await expect.poll(() => page.title()).toBe("running · Early bird – Runcast");
  await server.publish("early", output("tok"), output("en by tok"));
  await server.publish("early", output("en\n"), output("careful\n", "stderr"));
  await row(page, "token by token");
  await server.publish("early", { type: "run.completed", data: { exit_code: 0 } });
  await phase(page, "ended");
  await page.waitForSelector(".badge >> text=completed");
  await expect.poll(() => page.textContent(".head-why")).toBe("exit code 0");
  const all = await rows(page);
  expect(all.slice(0, 3)).toEqual(["run.started  Early bird", "token by token", "careful"]);
  expect(all.at(-1)).toMatch(/^run\.completed {2}exit code 0 · took /);
  await expect.poll(() => page.locator(".tone-stderr .row-text").textContent()).toBe("careful");
  await page.waitForFunction(() => document.title.startsWith("completed"));
  await expect.poll(() => page.getAttribute("link[rel=icon]", "href")).toContain("ok-");
  await page.close();
});

it("colours, progress bars and escape sequences are as in a terminal", async () => {
  await server.publish(
    "ansi",
    output("\x1b[1;31mred\x1b[0m \x1b[38;2;1;2;3mtrue\x1b[0m\x1b]0;title\x07\n"),
    ...[10, 50, 99].map((percent) => output(`\r\x1b[K${percent} %`)),
    output("\r100 %\n"),
  );
  const page = await open(browser, `${server.url}/runs/ansi`, errors);
  await row(page, "100 %");
  await expect.poll(() => rows(page)).toEqual(["red true", "100 %"]);
  const red = page.locator(".fg-1.sgr-bold");
  expect(await red.textContent()).toBe("red");
  const trueColour = page.locator(".row-text span", { hasText: "true" });
  expect(await trueColour.evaluate((span) => getComputedStyle(span).color)).toBe("rgb(1, 2, 3)");
  await page.close();
});

it("a click opens an event as JSON, and its address leads to it", async () => {
  await server.publish("deep", ...lines(1, 3_000));
  const page = await open(browser, `${server.url}/runs/deep#1234`, errors);
  await row(page, "line 1234");
  await expect.poll(() => page.textContent(".row.is-target .row-text")).toBe("line 1234");
  await expect.poll(() => page.textContent(".jump")).toBe("Jump to newest");
  await server.publish("deep", ...lines(3_001, 3_002));
  await page.waitForSelector(".jump >> text=Jump to newest (2 new)");
  await page.click(".row.is-target");
  await page.waitForSelector('.opened-json >> text="offset": 1234');
  const json = JSON.parse((await page.textContent(".opened-json")) ?? "") as { data: unknown };
  expect(json.data).toEqual({ text: "line 1234\n", stream: "stdout" });
  await page.click(".opened >> text=Close");
  await page.waitForSelector(".opened", { state: "detached" });
  await page.close();
});

it("a page that becomes narrow still shows what it showed", async () => {
  const long = Array.from({ length: 600 }, (_, at) => output(`${at + 1} ${"word ".repeat(30)}\n`));
  await server.publish("narrow", ...long);
  const page = await open(browser, `${server.url}/runs/narrow#303`, errors);
  const topOffset = () =>
    page.evaluate(() => {
      const top = document.querySelector(".log")?.getBoundingClientRect().top ?? 0;
      const drawn = [...document.querySelectorAll<HTMLElement>(".row[data-offset]")];
      return drawn.find((row) => row.getBoundingClientRect().bottom > top + 1)?.dataset.offset;
    });
  await page.waitForSelector(".row.is-target");
  const before = await topOffset();
  expect(before).toMatch(/^30[0-2]$/);
  await page.setViewportSize({ width: 360, height: 740 });
  await page.waitForFunction(() => document.querySelectorAll("[data-offset='303']").length > 3);
  expect(await topOffset()).toBe(before);
  await expect.poll(() => page.evaluate(() => document.documentElement.scrollWidth)).toBe(360);
  await page.close();
});

it("a run that has not started has no duration, and a long id leaves room to copy it", async () => {
  const id = `queued-${"x".repeat(110)}`;
  const name = "A long name ".repeat(12).trim();
  const tags = Array.from({ length: 12 }, (_, at) => `tag-number-${at}`);
  await server.publish(id, { type: "run.queued", data: { name, tags } });
  const page = await open(browser, `${server.url}/runs/${id}`, errors);
  await page.setViewportSize({ width: 390, height: 844 });
  await page.waitForSelector(".fact >> text=Created");
  await expect.poll(() => page.locator(".head-clock").count()).toBe(0);
  for (const shown of [".fact .link >> text=link", ".fact .tag >> text=tag-number-11"]) {
    const box = await page.locator(shown).boundingBox();
    expect((box?.x ?? 0) + (box?.width ?? 1_000)).toBeLessThanOrEqual(390);
  }
  await page.click(".fact .link >> text=copy");
  await page.close();
});

it("scrolling up stops the log, scrolling down lets it go on", async () => {
  await server.publish("scroll", ...lines(1, 200));
  const page = await open(browser, `${server.url}/runs/scroll`, errors);
  await row(page, "line 200");
  await server.publish("scroll", ...lines(201, 300));
  await row(page, "line 300");
  await page.mouse.move(600, 500);
  await page.mouse.wheel(0, -400);
  await page.waitForSelector(".jump");
  const before = await rows(page);
  await server.publish("scroll", ...lines(301, 400));
  await page.waitForSelector(".jump >> text=Jump to newest (100 new)");
  await expect.poll(() => rows(page)).toEqual(before);
  await page.click(".jump");
  await row(page, "line 400");
  await server.publish("scroll", ...lines(401, 420));
  await row(page, "line 420");
  await page.mouse.wheel(0, -200);
  await page.waitForSelector(".jump");
  await page.mouse.wheel(0, 400);
  await page.waitForSelector(".jump", { state: "detached" });
  await server.publish("scroll", ...lines(421, 440));
  await row(page, "line 440");
  await page.close();
});

it("a text is found in what was and in what comes, and the place is kept", async () => {
  await server.publish("find", ...lines(1, 5_000));
  const page = await open(browser, `${server.url}/runs/find`, errors);
  await row(page, "line 5000");
  await page.mouse.move(600, 500);
  await page.mouse.wheel(0, -1_000);
  await page.waitForSelector(".jump");
  const before = await rows(page);
  const logTop = () => page.$eval(".log", (log) => log.getBoundingClientRect().top);
  const top = await logTop();
  await page.keyboard.press("/");
  await page.keyboard.type("LINE 499");
  await page.waitForSelector(".found >> text=/^11 events found$/");
  expect(await logTop()).toBe(top);
  expect((await rows(page)).slice(0, 3)).toEqual(["line 499", "line 4990", "line 4991"]);
  await expect.poll(() => page.textContent(".row mark")).toBe("line 499");
  await server.publish("find", output("again line 499\n"), output("and not this\n"));
  await page.waitForSelector(".found >> text=/^12 events found$/");
  await row(page, "again line 499");
  await page.keyboard.press("Escape");
  await page.waitForSelector(".found", { state: "detached" });
  await row(page, before[20] ?? "");
  await expect.poll(() => rows(page)).toEqual(before);
  await page.close();
});

it("a page goes on across kill -9 and a restart, with nothing lost and nothing doubled", async () => {
  await server.publish("killed", ...lines(1, 700));
  const page = await open(browser, `${server.url}/runs/killed`, errors);
  await phase(page, "live");
  await row(page, "line 700");
  for (let round = 0; round < 3; round += 1) {
    await server.kill();
    await phase(page, "reconnecting");
    await server.restart();
    const from = 701 + round * 100;
    await server.publish("killed", ...lines(from, from + 99));
    await row(page, `line ${from + 99}`);
    await phase(page, "live");
  }
  await server.publish("killed", { type: "run.completed" });
  await phase(page, "ended");
  const expected = Array.from({ length: 1_000 }, (_, at) => `${at + 1} line ${at + 1}`);
  expect((await readAll(page)).slice(0, 1_000)).toEqual(expected);
  await page.close();
});

it("a run that is deleted says so, and one that never can be is refused", async () => {
  await server.publish("gone", ...lines(1, 3));
  const page = await open(browser, `${server.url}/runs/gone`, errors);
  await row(page, "line 3");
  await server.remove("gone");
  await page.waitForSelector("text=This run was deleted");
  await page.goto(`${server.url}/runs/gone`);
  await page.waitForSelector("text=This run was deleted");
  await page.goto(`${server.url}/runs/a%20b`);
  await page.waitForSelector("text=The server refused");
  await page.close();
});
