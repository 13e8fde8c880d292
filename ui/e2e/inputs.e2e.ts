import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { Agent } from "./agent.ts";
import { launch, open } from "./browser.ts";
import { RuncastServer } from "./server.ts";

let browser: Browser;
let server: RuncastServer;
let agent: Agent;
let page: Page;
const errors: string[] = [];

beforeAll(async () => {
  browser = await launch();
  server = await RuncastServer.start();
  agent = await Agent.start(server, "asks", () => async () => {});
  page = await open(browser, `${server.url}/runs/asks`, errors);
});
afterEach(() => expect(errors.splice(0)).toEqual([]));
afterAll(async () => {
  await agent.stop();
  await browser.close();
  await server.stop();
});

const asks = (input: string, more: object) =>
  server.publish("asks", { type: "input.requested", data: { input, prompt: "?", ...more } });
const card = (input: string) => `[data-input="${input}"]`;

it("a question is answered by a choice, and the run hears it", async () => {
  const prompt = "Deploy **v2** to <b>prod</b>? See [the diff](https://example.com/diff)";
  await asks("deploy", { prompt, choices: ["yes", "no"] });
  await page.waitForSelector(card("deploy"));
  await page.waitForSelector(".badge >> text=input required");
  await expect
    .poll(() => page.textContent(`${card("deploy")} .markdown`))
    .toBe("Deploy v2 to <b>prod</b>? See the diff");
  await expect.poll(() => page.textContent(`${card("deploy")} strong`)).toBe("v2");
  await expect.poll(() => page.getAttribute(`${card("deploy")} a`, "rel")).toContain("noopener");
  await page.fill(".person", "ada");
  await page.click(`${card("deploy")} >> text=yes`);
  expect(await agent.answer("deploy")).toBe("yes");
  await page.waitForSelector(`${card("deploy")} .input-outcome >> text=answered by ada`);
  await page.waitForSelector(".badge >> text=running");
});

it("a form is made of a schema, and what is wrong is said at its field", async () => {
  const schema = {
    type: "object",
    required: ["region", "count"],
    properties: {
      region: { enum: ["eu", "us"], title: "Region" },
      count: { type: "integer", minimum: 1, maximum: 5, default: 2, description: "Machines" },
      isDry: { type: "boolean", default: true },
      note: { type: "string", pattern: "^[a-z]*$" },
    },
  };
  await asks("form", { schema });
  const at = (place: string) => `${card("form")} [data-at="/${place}"]`;
  await page.waitForSelector(at("region"));
  await expect.poll(() => page.inputValue(`${at("count")} .field`)).toBe("2");
  await expect.poll(() => page.isChecked(`${at("isDry")} input`)).toBe(true);
  await page.fill(`${at("count")} .field`, "9");
  await page.click(`${card("form")} >> text=Answer`);
  await page.waitForSelector(`${at("region")} .fault >> text=This is needed`);
  await page.selectOption(`${at("region")} select`, { label: "eu" });
  await page.fill(`${at("note")} .field`, "NO");
  await page.click(`${card("form")} >> text=Answer`);
  await page.waitForSelector(`${at("count")} .fault`);
  await page.waitForSelector(`${at("note")} .fault`);
  await expect.poll(() => page.locator(`${at("region")} .fault`).count()).toBe(0);
  await page.fill(`${at("count")} .field`, "5");
  await page.fill(`${at("note")} .field`, "");
  await page.click(`${card("form")} >> text=Answer`);
  expect(await agent.answer("form")).toEqual({ region: "eu", count: 5, isDry: true });
});

it("who comes second is told who was first", async () => {
  await asks("race", { choices: ["left", "right"] });
  await page.waitForSelector(card("race"));
  // Somebody else answers while the page's own answer is on its way.
  await page.route("**/inputs/race", async (route) => {
    await agent.client.answer("asks", "race", { answer: "left", by: "grace" });
    await route.continue();
  });
  await page.click(`${card("race")} >> text=right`);
  await page.waitForSelector(`${card("race")} [role=alert] >> text=Your answer came second`);
  await expect.poll(() => page.textContent(`${card("race")} [role=alert]`)).toContain("by grace");
  await page.waitForSelector(`${card("race")} .input-answer >> text=left`);
  expect(await agent.answer("race")).toBe("left");
});

it("a form that somebody is at shows when another has answered", async () => {
  await asks("text", {});
  await page.fill(`${card("text")} textarea`, "half a sen");
  await agent.client.answer("asks", "text", { answer: "all of it", by: "grace" });
  await page.waitForSelector(`${card("text")} .input-outcome >> text=answered by grace`);
  await expect.poll(() => page.textContent(`${card("text")} .input-answer`)).toBe("“all of it”");
});

it("the time that is left is counted down, and then the default is taken", async () => {
  await asks("late", { choices: ["go", "wait"], default: "wait", timeout_ms: 4_000 });
  await page.waitForSelector(`${card("late")} .input-left`);
  await expect
    .poll(() => page.textContent(`${card("late")} .input-time`))
    .toMatch(/\d s left, then “wait” is taken$/);
  const left = await page.textContent(`${card("late")} .input-left`);
  await page.waitForFunction(
    ([at, was]) => document.querySelector(`${at} .input-left`)?.textContent !== was,
    [card("late"), left],
  );
  await page.waitForSelector(`${card("late")} .input-outcome >> text=nobody answered in time`);
  await expect.poll(() => page.textContent(`${card("late")} .input-answer`)).toBe("“wait”");
  expect(await agent.answer("late")).toBe("wait");
});

it("what was asked before the page came is folded away", async () => {
  await page.reload();
  await page.waitForSelector(".earlier summary >> text=5 earlier questions");
  await expect.poll(() => page.isVisible(card("deploy"))).toBe(false);
  await page.click(".earlier summary");
  await page.waitForSelector(`${card("deploy")} .input-answer >> text=yes`);
});
