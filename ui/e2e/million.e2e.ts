import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { heapBytes, LONG_TASK_MS_MAX, launch, open, phase, processBytes, row } from "./browser.ts";
import { output, RuncastServer } from "./server.ts";

const EVENTS = 1_000_000;
const MEMORY_BYTES_MAX = 200_000_000;

let browser: Browser;
let server: RuncastServer;
let page: Page;
const errors: string[] = [];

beforeAll(async () => {
  browser = await launch();
  server = await RuncastServer.start();
  await server.fill("million", EVENTS, (offset) => {
    const text = offset % 50_000 === 0 ? "a needle" : "hay like all the other hay there is";
    return offset % 10 === 0
      ? { type: "log", data: { level: "info", message: `step ${offset}: ${text}` } }
      : output(`line ${offset}: ${text}\n`);
  });
  page = await open(browser, `${server.url}/runs/million`, errors);
});
afterAll(async () => {
  await browser.close();
  await server.stop();
});

/** Does something, and tells the longest task and what is held afterwards. */
async function measured(name: string, work: () => Promise<unknown>): Promise<void> {
  await page.evaluate(() => window.longTasksMs.splice(0));
  const began = performance.now();
  await work();
  const ms = Math.round(performance.now() - began);
  const longest = Math.max(0, ...(await page.evaluate(() => window.longTasksMs)));
  const bytes = await heapBytes(page);
  const inAll = await processBytes(browser);
  const [heap, memory] = [bytes, inAll].map((size) => `${(size / 1e6).toFixed(1)} MB`);
  console.log(`${name}: ${ms} ms, longest task ${longest} ms, heap ${heap}, process ${memory}`);
  expect(longest).toBeLessThan(LONG_TASK_MS_MAX);
  expect(bytes).toBeLessThan(MEMORY_BYTES_MAX);
  expect(inAll).toBeLessThan(MEMORY_BYTES_MAX);
  expect(errors).toEqual([]);
}

it("a run of a million events opens at its end", async () => {
  await measured("open", () => row(page, `INFO  step ${EVENTS}: a needle`));
});

it("its scrollbar goes through all of it and stays responsive", async () => {
  await measured("drag to the top", async () => {
    await page.evaluate(async () => {
      const log = document.querySelector(".log") as HTMLElement;
      const room = log.scrollHeight - log.clientHeight;
      for (let step = 300; step >= 0; step -= 1) {
        log.scrollTop = (room * step) / 300;
        await new Promise(requestAnimationFrame);
      }
    });
    await row(page, "line 1: hay like all the other hay there is");
  });
  await measured("stop at 50 places", async () => {
    for (let stop = 0; stop < 50; stop += 1) {
      await page.evaluate(
        (share) => {
          const log = document.querySelector(".log") as HTMLElement;
          log.scrollTop = (log.scrollHeight - log.clientHeight) * share;
        },
        ((stop * 37) % 50) / 50,
      );
      await page.waitForSelector(".row[data-offset]");
      await page.waitForFunction(() => !document.querySelector(".hole"));
    }
  });
});

it("the wheel moves it by what it turns, without a jump", async () => {
  await measured("wheel", async () => {
    await page.waitForSelector(".row[data-offset]");
    await page.evaluate(() => {
      const log = document.querySelector(".log") as HTMLElement;
      log.scrollTop = (log.scrollHeight - log.clientHeight) / 2;
    });
    await page.waitForFunction(() => {
      const drawn = document.querySelector<HTMLElement>(".row[data-offset]");
      const isThere = Math.abs(Number(drawn?.dataset.offset) - 500_000) < 10_000;
      return isThere && !document.querySelector(".hole");
    });
    const topOffset = () =>
      page.evaluate(() => {
        const top = document.querySelector(".log")?.getBoundingClientRect().top ?? 0;
        const drawn = [...document.querySelectorAll<HTMLElement>(".row[data-offset]")];
        const first = drawn.find((row) => row.getBoundingClientRect().bottom > top + 1);
        return Number(first?.dataset.offset);
      });
    await page.mouse.move(600, 500);
    let before = await topOffset();
    for (let turn = 0; turn < 30; turn += 1) {
      await page.mouse.wheel(0, turn % 3 === 2 ? -400 : 400);
      const wanted = before + (turn % 3 === 2 ? -20 : 20);
      await page.waitForFunction(
        ([offset]) => {
          const top = document.querySelector(".log")?.getBoundingClientRect().top ?? 0;
          const drawn = [...document.querySelectorAll<HTMLElement>(".row[data-offset]")];
          const first = drawn.find((row) => row.getBoundingClientRect().bottom > top + 1);
          return Number(first?.dataset.offset) === offset;
        },
        [wanted],
      );
      before = await topOffset();
      expect(before).toBe(wanted);
    }
  });
});

it("a text in it is found", async () => {
  await measured("find 20 of a million", async () => {
    await page.fill(".tools .field", "needle");
    await page.waitForSelector(".found >> text=/^20 events found$/");
  });
  await measured("find everything, a screen at a time", async () => {
    await page.fill(".tools .field", "hay");
    await page.waitForSelector(".found >> text=scroll down for more");
    await page.evaluate(async () => {
      const log = document.querySelector(".log") as HTMLElement;
      for (let step = 0; step < 100; step += 1) {
        log.scrollTop = log.scrollHeight;
        await new Promise(requestAnimationFrame);
      }
    });
  });
  await page.fill(".tools .field", "");
  await page.waitForSelector(".found", { state: "detached" });
});

it("a burst of live events does not freeze it, and its end is shown", async () => {
  // The end of the search brings back the place from before it, perhaps after the first scroll.
  await page.waitForFunction((wanted) => {
    const log = document.querySelector(".log") as HTMLElement;
    log.scrollTop = log.scrollHeight;
    const rows = [...document.querySelectorAll(".row[data-offset] .row-text")];
    return rows.some((row) => row.textContent?.includes(wanted));
  }, `step ${EVENTS}: a needle`);
  await measured("burst of 100,000", async () => {
    await server.fill("million", 100_000, (at) => output(`burst ${at}\n`));
    await row(page, "burst 100000");
  });
  await phase(page, "live");
});
