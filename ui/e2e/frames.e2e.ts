/** What a real browser makes of the stream itself: no event can be more or less than one frame. */

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { launch } from "./browser.ts";
import { type Draft, RuncastServer } from "./server.ts";

let browser: Browser;
let server: RuncastServer;

beforeAll(async () => {
  browser = await launch();
  server = await RuncastServer.start();
});
afterAll(async () => {
  await browser.close();
  await server.stop();
});

/** Every control character, and what else some reader takes for the end of a line. */
const BREAKS = [
  ...Array.from({ length: 0x20 }, (_, code) => String.fromCharCode(code)),
  ...Array.from({ length: 0x21 }, (_, at) => String.fromCharCode(0x7f + at)),
  "\u2028",
  "\u2029",
  "\ufeff",
  "\r\n",
  "\n\n",
  "\r\r",
  "\r\n\r\n",
];
const forged = (line: string) =>
  `a${line}${line}event: end${line}data: {"offset":1}${line}${line}id: 99${line}data: {}${line}${line}`;
const TEXTS = BREAKS.map(forged);
const LABELS = ["channel", "variation", "stage", "step", "agent"] as const;

/** Events with a text in each field that can hold one. */
const drafts = (text: string): Draft[] => [
  ...LABELS.map((label) => ({ type: "my.event", [label]: text })),
  { type: "my.event", time: text },
  { type: "my.event", data: text },
  { type: "my.event", data: { [text]: text, deep: [[{ [text]: [text] }]] } },
  { type: "output", data: { text, stream: text } },
  { type: "output", data: { text } },
  { type: "message.delta", data: { message: text, text } },
  { type: "message.delta", data: { message: "m", text } },
  { type: "log", data: { level: text, message: text, fields: { [text]: text } } },
  { type: "tool.called", data: { call: "c", tool: text, args: text } },
  { type: "tool.failed", data: { call: "c", error: text } },
  { type: "step.failed", step: "s", data: { error: { message: text }, reason: text } },
  { type: "run.updated", data: { status_reason: text, name: text } },
  { type: text },
];
const TYPES = [...new Set(drafts("").map((draft) => draft.type))].filter((type) => type !== "");
const SPECIAL = ["message", "gap", "end", "deleted", "expired"];

/** Appends each by itself; those that are refused must be refused as what they are. */
async function publishEach(run: string): Promise<number> {
  let stored = 0;
  for (const text of TEXTS) {
    for (const draft of drafts(text)) {
      const response = await fetch(`${server.url}/v1/runs/${run}/events`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(draft),
      });
      if (response.ok) stored += 1;
      else expect(await response.json()).toMatchObject({ status: 400, code: "invalid_event" });
    }
  }
  return stored;
}

interface Frame {
  readonly name: string;
  readonly id: string;
  readonly data: string;
}

/** All frames that a plain `EventSource` gives, up to the end of the run. */
function frames(page: Page, path: string): Promise<Frame[]> {
  return page.evaluate(
    ([path, names]) =>
      new Promise<Frame[]>((resolve) => {
        const seen: Frame[] = [];
        const source = new EventSource(path);
        for (const name of names) {
          source.addEventListener(name, (event) => {
            const { data, lastEventId: id } = event as MessageEvent<string>;
            seen.push({ name, id, data });
            if (name !== "end" || JSON.parse(data).type !== "run.completed") return;
            source.close();
            resolve(seen);
          });
        }
      }),
    [path, [...SPECIAL, ...TYPES, "run.completed"]] as const,
  );
}

it.each(["", "?named=1", "?coalesce=1", "?named=1&type=my.*&type=output"])(
  "whatever is in its fields, an event is one frame to an EventSource, with %j",
  async (query) => {
    const run = `frames${query.replace(/\W/g, "-")}`;
    const stored = await publishEach(run);
    expect(stored).toBeGreaterThan(TEXTS.length * 6);
    await server.publish(run, { type: "run.completed" });
    const page = await browser.newPage();
    await page.goto(`${server.url}/openapi.json`);
    const response = await fetch(
      `${server.url}/v1/runs/${run}/events${query.replace("named=1", "")}`,
      {
        headers: { Accept: "application/x-ndjson" },
      },
    );
    const expected = (await response.text()).trimEnd().split("\n");
    if (!query.includes("type=")) expect(expected).toHaveLength(stored + 1);
    const seen = await frames(page, `/v1/runs/${run}/events${query}`);
    const end = seen.pop();
    expect(JSON.parse(end?.data ?? "")).toEqual({ offset: stored + 1, type: "run.completed" });
    expect(seen.map((frame) => frame.data)).toEqual(expected);
    for (const { name, id, data } of seen) {
      const event = JSON.parse(data);
      expect(name).toBe(query.includes("named=1") ? event.type : "message");
      expect(id).toBe(String(event.offset));
    }
    await page.close();
  },
);

it("no run's id and no cursor can hold a line end", async () => {
  for (const text of TEXTS) {
    const path = `${server.url}/v1/runs/${encodeURIComponent(text)}/events`;
    const followed = await fetch(path, { headers: { Accept: "text/event-stream" } });
    expect(followed.status).toBe(400);
    expect(await followed.json()).toMatchObject({ code: "invalid_run_id" });
    const cursor = await fetch(`${server.url}/v1/runs/a/events?after=${encodeURIComponent(text)}`, {
      headers: { Accept: "text/event-stream" },
    });
    expect(cursor.status).toBe(400);
  }
});
