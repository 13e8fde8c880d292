/** What the pages are to people who see little, use no mouse, or want nothing to move. */

import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { launch, open } from "./browser.ts";
import { output, RuncastServer } from "./server.ts";

let browser: Browser;
let server: RuncastServer;
const errors: string[] = [];
const RUN = "/runs/access";

beforeAll(async () => {
  browser = await launch();
  server = await RuncastServer.start();
  const schema = {
    type: "object",
    properties: { n: { type: "integer", description: "How many" } },
  };
  await server.publish(
    "access",
    {
      type: "run.started",
      data: { name: "Access", tags: ["tag"], stages: ["one", "two", "three"] },
    },
    { type: "stage.started", stage: "one" },
    { type: "stage.completed", stage: "one" },
    { type: "stage.started", stage: "two" },
    { type: "step.started", step: "parent" },
    { type: "step.failed", step: "child", data: { parent: "parent", error: "broken" } },
    { type: "step.started", step: "child", data: { parent: "parent" } },
    { type: "step.skipped", step: "other", data: { reason: "no need" } },
    { type: "tool.called", data: { call: "c", tool: "t", args: { a: 1 } } },
    { type: "tool.failed", data: { call: "c", error: "broken" } },
    { type: "message.delta", data: { message: "m", text: "hello" } },
    { type: "log", step: "child", data: { level: "warn", message: "careful" } },
    output("printed\n"),
    {
      type: "input.requested",
      data: { input: "q", prompt: "`How` many?", schema, default: { n: 1 } },
    },
    {
      type: "input.requested",
      data: { input: "r", prompt: "Which?", choices: ["a", "b"], timeout_ms: 600_000 },
    },
    { type: "command.requested", data: { command: "x", name: "pause", by: "ada" } },
  );
  await server.publish("failed", { type: "run.failed", data: { exit_code: 1 } });
});
afterEach(() => expect(errors.splice(0)).toEqual([]));
afterAll(async () => {
  await browser.close();
  await server.stop();
});

/** Texts whose contrast with what is behind them is below WCAG's AA. */
function faint(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    type Rgba = readonly [number, number, number, number];
    const rgba = (colour: string): Rgba => {
      if (!context) return [0, 0, 0, 0];
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
      const [r = 0, g = 0, b = 0, a = 0] = context.getImageData(0, 0, 1, 1).data;
      return [r, g, b, a / 255];
    };
    const over = ([r, g, b, a]: Rgba, below: Rgba): Rgba => {
      const mix = (top: number, under: number) => top * a + under * (1 - a);
      return [mix(r, below[0]), mix(g, below[1]), mix(b, below[2]), 1];
    };
    const behind = (element: Element | null): Rgba => {
      if (!element) return rgba("Canvas");
      const own = rgba(getComputedStyle(element).backgroundColor);
      return own[3] === 1 ? own : over(own, behind(element.parentElement));
    };
    const luminance = ([r, g, b]: Rgba) => {
      const [lr = 0, lg = 0, lb = 0] = [r, g, b].map((part) => {
        const share = part / 255;
        return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * lr + 0.7152 * lg + 0.0722 * lb;
    };
    const found = new Set<string>();
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let text = texts.nextNode(); text; text = texts.nextNode()) {
      const element = text.parentElement;
      if (!element?.checkVisibility() || element.closest("[aria-hidden=true], .unseen")) continue;
      if (text.textContent?.trim() === "") continue;
      const back = behind(element);
      const front = over(rgba(getComputedStyle(element).color), back);
      const [high = 0, low = 0] = [luminance(front), luminance(back)].sort((a, b) => b - a);
      const ratio = (high + 0.05) / (low + 0.05);
      if (ratio < 4.5) found.add(`${element.className}: ${text.textContent} ${ratio.toFixed(2)}`);
    }
    return [...found];
  });
}

const PLACES: readonly (readonly [path: string, wait: string, tab?: string])[] = [
  ["/", ".run-name"],
  ["/?status=failed&tag=none", "text=No run matches"],
  ["/inbox", ".input"],
  [`${RUN}?step=child`, ".step-details"],
  [`${RUN}?stage=two#3`, ".filter-bar", "#tab-tools"],
  [RUN, ".row[data-offset]", "#tab-messages"],
  ["/runs/failed", ".head-why"],
];

it.each(["light", "dark"] as const)("all text can be read, in %s", async (colorScheme) => {
  const page = await open(browser, server.url, errors);
  await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
  for (const [path, wait, tab] of PLACES) {
    await page.goto(server.url + path);
    await page.waitForSelector(wait);
    if (tab) await page.click(tab);
    expect(await faint(page), path).toEqual([]);
  }
  await page.close();
});

it("whatever can be used has a name", async () => {
  const page = await open(browser, server.url, errors);
  for (const [path, wait, tab] of PLACES) {
    await page.goto(server.url + path);
    await page.waitForSelector(wait);
    if (tab) await page.click(tab);
    const nameless = await page.evaluate(() => {
      const controls = document.querySelectorAll<HTMLElement>("a, button, input, select, textarea");
      return [...controls]
        .filter((it) => {
          const labels = (it as HTMLInputElement).labels?.length ?? 0;
          return !it.ariaLabel && labels === 0 && (it.textContent ?? "").trim() === "";
        })
        .map((it) => it.outerHTML);
    });
    expect(nameless, path).toEqual([]);
    const ids = await page.$$eval("[id]", (found) => found.map((it) => it.id));
    expect(new Set(ids).size, path).toBe(ids.length);
  }
  await page.close();
});

it("nothing moves for who does not want it", async () => {
  const page = await open(browser, server.url + RUN, errors);
  await page.waitForSelector(".stage .mark.is-running");
  const moving = () => page.evaluate(() => document.getAnimations().length);
  await expect.poll(() => moving()).toBeGreaterThan(0);
  await page.emulateMedia({ reducedMotion: "reduce" });
  await expect.poll(() => moving()).toBe(0);
  await page.close();
});

it("the keyboard reaches stages, tabs, steps and questions, and shows where it is", async () => {
  const page = await open(browser, server.url + RUN, errors);
  await page.waitForSelector(".step");
  const focused = () =>
    page.evaluate(() => {
      const it = document.activeElement as HTMLElement;
      const { outlineStyle } = getComputedStyle(it);
      return { name: it.className, isShown: outlineStyle !== "none" };
    });
  const at = (text: string) =>
    page.waitForFunction((text) => document.activeElement?.textContent === text, text);
  const seen = new Set<string>();
  for (let tabs = 0; tabs < 60; tabs += 1) {
    await page.keyboard.press("Tab");
    const { name, isShown } = await focused();
    seen.add(name.split(" ")[0] ?? "");
    if (name !== "") expect(isShown, name).toBe(true);
    if (name === "log") break;
  }
  for (const name of ["stage-button", "tab", "step-button", "fold", "field", "log"]) {
    expect([...seen]).toContain(name);
  }
  await page.focus(".step-button");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".step.is-chosen");
  await page.keyboard.press("Space");
  await page.waitForSelector(".step.is-chosen", { state: "detached" });
  await page.focus("#tab-steps");
  await page.keyboard.press("ArrowRight");
  await page.waitForSelector(".call");
  await expect.poll(() => page.evaluate(() => document.activeElement?.id)).toBe("tab-tools");
  await page.keyboard.press("ArrowLeft");
  await page.waitForSelector(".step");
  await page.focus(".control-stop");
  await page.keyboard.press("Enter");
  await at("Let it run");
  await page.keyboard.press("Escape");
  await at("Stop");
  await page.focus(".control-set");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".set-form :focus");
  await page.keyboard.press("Escape");
  await at("Set…");
  await page.close();
});
