/** The agent of `examples/` under `runcast exec`, talked to from its page; and what is recorded. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, type RunEvent } from "@runcast/core";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { launch, open, phase } from "./browser.ts";
import { BIN, RuncastServer } from "./server.ts";

const AGENT = join(import.meta.dirname, "../../examples/talking_agent.py");
const RUN = "talks";

let browser: Browser;
let server: RuncastServer;
let home: string;
let exec: ChildProcess;
let page: Page;
const errors: string[] = [];

beforeAll(async () => {
  browser = await launch();
  server = await RuncastServer.start();
  home = await mkdtemp(join(tmpdir(), "runcast-e2e-exec-"));
  const env = { ...process.env, XDG_STATE_HOME: home, RUNCAST_URL: server.url };
  const args = ["exec", "--run", RUN, "--workflow", "report", "--", "python3", AGENT];
  exec = spawn(BIN, args, { env, stdio: "ignore" });
  page = await open(browser, `${server.url}/runs/${RUN}`, errors);
  await page.fill(".person", "ada");
});
afterEach(() => expect(errors.splice(0)).toEqual([]));
afterAll(async () => {
  if (exec.exitCode === null && exec.signalCode === null) {
    const gone = once(exec, "exit");
    exec.kill("SIGKILL");
    await gone;
  }
  await browser.close();
  await server.stop();
  await rm(home, { recursive: true, force: true });
});

const badge = (text: string) => page.waitForSelector(`.badge >> text=${text}`);
const point = (command: string, name: string) =>
  page.waitForSelector(`[data-command="${command}"] [data-point="${name}"].is-passed`);

async function recorded(...types: readonly string[]): Promise<readonly RunEvent[]> {
  const { events } = await new Client({ url: server.url }).page(RUN, { limit: 1_000 });
  return events.filter((event) => types.includes(event.type));
}

it("its question is answered", async () => {
  await badge("input required");
  await page.waitForSelector(".input >> text=Which report shall I write?");
  await page.waitForSelector(".input-left");
  await page.click(".choices >> text=long");
  await page.waitForSelector(".input-outcome >> text=answered by ada");
  await badge("running");
  await page.waitForSelector(".row-text >> text=A long report it is.");
  const [answered] = await recorded("input.answered");
  expect(answered?.data).toMatchObject({ answer: "long", by: "ada" });
});

it("it is paused and holds still, and is resumed", async () => {
  await page.waitForSelector('.step[data-step="sentence-1"]');
  await page.click(".control-pause");
  await badge("paused");
  await point("pause", "done");
  const before = await new Client({ url: server.url }).get(RUN);
  expect(before.status).toBe("paused");
  // Behind `run.paused` is only what says that the command was carried out.
  const { events } = await new Client({ url: server.url }).page(RUN, { limit: 1_000 });
  const behind = events.slice(events.findIndex(({ type }) => type === "run.paused") + 1);
  expect(behind.map(({ type }) => type)).toEqual(["command.done"]);
  await expect.poll(() => page.getAttribute(".control-pause", "aria-disabled")).toBe("true");
  await page.click(".control-resume");
  await badge("running");
  await point("resume", "done");
  expect((await recorded("run.paused", "run.resumed")).map(({ type }) => type)).toEqual([
    "run.paused",
    "run.resumed",
  ]);
});

it("it is given parameters, and refuses those that it does not know", async () => {
  await page.click(".control-set");
  await page.fill("[aria-label='Name of parameter 1']", "colour");
  await page.fill("[aria-label='Value of parameter 1']", "red");
  await page.keyboard.press("Enter");
  await page.waitForSelector('[data-command="set"] [data-point="refused"].is-failed');
  await page.waitForSelector("[data-command=set] >> text=there is no parameter 'colour'");
  await page.click(".control-set");
  await page.fill("[aria-label='Name of parameter 1']", "rounds");
  await page.fill("[aria-label='Value of parameter 1']", "1000");
  await page.click(".set-form >> text=Another");
  await page.fill("[aria-label='Name of parameter 2']", "pace_s");
  await page.fill("[aria-label='Value of parameter 2']", "0.02");
  await page.click(".set-send .is-main");
  await point("set", "done");
  const asked = (await recorded("command.requested")).map(({ data }) => data as { args?: unknown });
  expect(asked.map(({ args }) => args).filter(Boolean)).toEqual([
    { colour: "red" },
    { rounds: 1_000, pace_s: 0.02 },
  ]);
});

it("a resume while it is not paused is not sent, and why is said", async () => {
  const sent: string[] = [];
  page.on("request", (request) => {
    if (request.method() === "POST") sent.push(request.url());
  });
  await page.focus(".control-resume");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".controls-said >> text=Resume: the run is not paused");
  expect(sent).toEqual([]);
});

it("it is stopped, once, and says its last words", async () => {
  await page.click(".control-stop");
  await page.click(".confirm >> text=Stop it");
  await badge("cancelled");
  await phase(page, "ended");
  await expect.poll(() => page.textContent(".head-why")).toContain("ada");
  await page.waitForSelector(".row-text >> text=parameters at the end");
  await expect.poll(() => page.locator(".controls .button").count()).toBe(0);
  if (exec.exitCode === null) await once(exec, "exit");
  const said = await recorded("command.requested", "command.done", "command.refused");
  const names = new Map<string, string>();
  const story = said.map(({ type, data }) => {
    const { command, name } = data as { command: string; name?: string };
    if (name !== undefined) names.set(command, name);
    return `${names.get(command)} ${type.replace("command.", "")}`;
  });
  expect(story).toEqual([
    "pause requested",
    "pause done",
    "resume requested",
    "resume done",
    "set requested",
    "set refused",
    "set requested",
    "set done",
    "stop requested",
    "stop done",
  ]);
  const run = await new Client({ url: server.url }).get(RUN);
  expect(run).toMatchObject({ status: "cancelled", is_terminal: true, open_inputs: 0 });
  expect(run.commands.every(({ by }) => by === "ada")).toBe(true);
});
