/** A real Chromium, and what the tests ask of a page. */

import { readFile } from "node:fs/promises";
import { type Browser, chromium, type Page } from "playwright-core";

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/**
 * A page that does one thing for longer is frozen, also on a machine that is busy with other things:
 * on one that is not, the longest takes a tenth of this.
 */
export const LONG_TASK_MS_MAX = 1_000;

export function launch(): Promise<Browser> {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: FLAGS });
}

declare global {
  interface Window {
    longTasksMs: number[];
    alerts: number;
  }
}

/** Opens a page that keeps count of long tasks, and fails the test on any error of its own. */
export async function open(browser: Browser, url: string, errors: string[]): Promise<Page> {
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    const isRefused = message.text().includes("Content Security Policy");
    if (isRefused) errors.push(message.text());
  });
  await page.addInitScript(() => {
    window.longTasksMs = [];
    window.alerts = 0;
    window.alert = () => {
      window.alerts += 1;
    };
    new PerformanceObserver((list) => {
      for (const entry of list.getEntries()) window.longTasksMs.push(Math.round(entry.duration));
    }).observe({ type: "longtask" });
  });
  await page.goto(url);
  return page;
}

/** The texts of all rows that are drawn, top to bottom. */
export function rows(page: Page): Promise<string[]> {
  return page.$$eval(".row[data-offset] .row-text", (texts) =>
    texts.map((t) => t.textContent ?? ""),
  );
}

/** Waits for a row with this text. */
export async function row(page: Page, text: string): Promise<void> {
  await page.waitForFunction(
    (wanted) =>
      [...document.querySelectorAll(".row[data-offset] .row-text")].some(
        (element) => element.textContent === wanted,
      ),
    text,
  );
}

export async function phase(page: Page, wanted: string): Promise<void> {
  await page.waitForSelector(`.connection[data-phase="${wanted}"]`);
}

/** All lines of the log by their number, read by scrolling through it. */
export async function readAll(page: Page): Promise<string[]> {
  return page.evaluate(async () => {
    const log = document.querySelector(".log") as HTMLElement;
    const seen: string[] = [];
    const known = new Set<string>();
    const frames = async () => {
      for (let at = 0; at < 3; at += 1) await new Promise(requestAnimationFrame);
    };
    log.scrollTop = 0;
    await frames();
    for (;;) {
      while (document.querySelector(".hole")) await frames();
      for (const row of document.querySelectorAll<HTMLElement>(".row[data-offset]")) {
        const key = `${row.dataset.offset} ${row.querySelector(".row-text")?.textContent}`;
        if (!known.has(key)) seen.push(key);
        known.add(key);
      }
      const before = log.scrollTop;
      log.scrollTop += log.clientHeight / 2;
      await frames();
      if (log.scrollTop === before) return seen;
    }
  });
}

/** What the page's scripts hold, after everything that can be let go was. */
export async function heapBytes(page: Page): Promise<number> {
  const session = await page.context().newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = await session.send("Runtime.getHeapUsage");
  await session.detach();
  return usedSize;
}

/** What the page's process holds in all, beside files of the program: the largest of them. */
export async function processBytes(browser: Browser): Promise<number> {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  await session.detach();
  const renderers = processInfo.filter((process) => process.type === "renderer");
  const held = renderers.map(async ({ id }) => {
    const status = await readFile(`/proc/${id}/status`, "utf8").catch(() => "");
    return Number(/RssAnon:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
  });
  return Math.max(...(await Promise.all(held)));
}
