/**
 * What a real browser makes of the streams themselves: whatever is in its fields, an event is one
 * frame to an `EventSource` and one element of a message to a `WebSocket`, byte for byte as sent.
 */

import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { launch } from "./browser.ts";
import { BARE, BODIES, dataOf, FORGED, TEXTS, TYPES } from "./hostile.ts";
import { RuncastServer } from "./server.ts";

/** A run whose id is as misleading as an id may be. */
const STORED = "data:99.id:3~_-stored:1";
const LIVE = "data:99.id:3~_-live:1";
const ASIDE = "aside";

let browser: Browser;
let server: RuncastServer;
let page: Page;
/** What was accepted over HTTP, in order. */
let accepted: readonly string[];

beforeAll(async () => {
  browser = await launch();
  server = await RuncastServer.start();
  page = await browser.newPage();
  await page.goto(`${server.url}/openapi.json`);
  accepted = await publishEach(STORED);
  for (const run of [STORED, ASIDE]) await server.publish(run, { type: "run.completed" });
});
afterAll(async () => {
  await browser.close();
  await server.stop();
});

/** Appends each by itself; those that are refused must be refused as what they are. */
async function publishEach(run: string): Promise<string[]> {
  const stored: string[] = [];
  for (const body of BODIES) {
    const response = await fetch(`${server.url}/v1/runs/${run}/events`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body,
    });
    if (response.ok) stored.push(body);
    else expect(await response.json()).toMatchObject({ status: 400, code: "invalid_event" });
  }
  return stored;
}

/** The events of a run, one JSON text each. */
async function exported(run: string, query = ""): Promise<string[]> {
  const headers = { Accept: "application/x-ndjson" };
  const response = await fetch(`${server.url}/v1/runs/${run}/events${query}`, { headers });
  return (await response.text()).trimEnd().split("\n");
}

/** Each line is what was sent, in order, with the run's end behind. */
function expectAsSent(lines: readonly string[], bodies: readonly string[]): void {
  expect(lines.map((line) => JSON.parse(line).offset)).toEqual(lines.map((_, at) => at + 1));
  expect(JSON.parse(lines.at(-1) ?? "").type).toBe("run.completed");
  const data = lines.slice(0, -1).map((line) => /,"data":(.*)\}$/s.exec(line)?.[1]);
  expect(data).toEqual(bodies.map(dataOf));
  for (const [at, body] of bodies.entries()) {
    expect(JSON.parse(lines[at] ?? "")).toMatchObject(JSON.parse(body));
  }
  // Nothing ends a line, and a tab is the only control character that JSON has between its parts.
  expect(lines.join("")).not.toMatch(/[\x00-\x08\x0a-\x1f]/);
}

it("an event is stored as it was sent, or refused as what it is", async () => {
  expect(accepted.length).toBeGreaterThan(TEXTS.length * 12);
  expectAsSent(await exported(STORED), accepted);
});

declare global {
  interface Window {
    /** How many readers are there. */
    readers: number;
  }
}

it("a control character that is not escaped is refused", async () => {
  for (const body of BARE) {
    const headers = { "Content-Type": "application/json" };
    const request = { method: "POST", headers, body };
    const response = await fetch(`${server.url}/v1/runs/bare/events`, request);
    expect(await response.json()).toMatchObject({ status: 400, code: "invalid_body" });
  }
});

interface Frame {
  readonly name: string;
  readonly id: string;
  readonly data: string;
}

const SPECIAL = ["message", "gap", "end", "deleted", "expired"];
const NAMES = [...SPECIAL, ...TYPES, "run.completed"];

/** All frames that a plain `EventSource` gives, up to the one that says that all has ended. */
function frames(path: string): Promise<Frame[]> {
  return page.evaluate(
    ([path, names]) =>
      new Promise<Frame[]>((resolve) => {
        const seen: Frame[] = [];
        const source = new EventSource(path);
        source.onopen = () => {
          window.readers += 1;
        };
        for (const name of names) {
          source.addEventListener(name, (event) => {
            const { data, lastEventId: id } = event as MessageEvent<string>;
            seen.push({ name, id, data });
          });
        }
        // The server closes behind the end.
        source.onerror = () => {
          source.close();
          resolve(seen);
        };
      }),
    [path, NAMES] as const,
  );
}

it.each(["", "?named=1", "?coalesce=1", "?named=1&type=my.*&type=output"])(
  "an event is one frame to an EventSource, with %j",
  async (query) => {
    const lines = await exported(STORED, query.replace("named=1&", "").replace("?named=1", ""));
    const seen = await frames(`/v1/runs/${STORED}/events${query}`);
    const end = { offset: accepted.length + 1, type: "run.completed" };
    expect(seen.pop()).toMatchObject({ name: "end", data: JSON.stringify(end) });
    expect(seen).toEqual(
      lines.map((data) => {
        const { type, offset } = JSON.parse(data);
        return { name: query.includes("named=1") ? type : "message", id: `${offset}`, data };
      }),
    );
  },
);

it.each(["", "&named=1"])(
  "an event is one frame to an EventSource of many runs, with %j",
  async (query) => {
    const seen = await frames(`/v1/streams?run=${STORED}&run=${ASIDE}${query}`);
    expect(seen.filter(({ name }) => name === "end")).toHaveLength(3);
    const events = seen.filter(
      ({ name, data }) => name !== "end" && JSON.parse(data).run === STORED,
    );
    expect(events).toHaveLength(seen.length - 4);
    const lines = await exported(STORED);
    expect(events.map(({ data }) => data)).toEqual(
      lines.map((line) => line.replace("{", `{"run":"${STORED}",`)),
    );
    for (const { name, id, data } of events) {
      const { type, offset } = JSON.parse(data);
      expect(name).toBe(query === "" ? "message" : type);
      expect(id.split(",")).toContain(`${STORED}:${offset}`);
    }
  },
);

it("an entry of the feed is one frame to an EventSource, whatever the run is called", async () => {
  const lifecycle = (await exported(STORED)).map((line) => JSON.parse(line));
  const told = lifecycle.filter(({ type, offset }) => type.startsWith("run.") || offset === 1);
  const seen = await page.evaluate(
    ([run, count]) =>
      new Promise<{ id: string; data: string }[]>((resolve) => {
        const seen: { id: string; data: string }[] = [];
        const source = new EventSource("/v1/feed");
        source.onmessage = ({ lastEventId: id, data }) => {
          if (JSON.parse(data).run === run) seen.push({ id, data });
          if (seen.length < count || JSON.parse(data).type !== "run.completed") return;
          source.close();
          resolve(seen);
        };
      }),
    [STORED, told.length] as const,
  );
  const entries = seen.map(({ data }) => JSON.parse(data));
  expect(entries.map(({ data }) => data.offset)).toEqual(told.map(({ offset }) => offset));
  expect(seen.map(({ id }) => id)).toEqual(entries.map(({ offset }) => `${offset}`));
  for (const [at, { type, data }] of told.entries()) {
    if (type === "run.updated" && data.name) expect(entries[at].data.name).toBe(data.name);
    if (type === "run.updated" && data.tags) expect(entries[at].data).toMatchObject(data);
  }
});

/** All messages that a plain `WebSocket` gives for a subscription, up to the run's end. */
function messages(subscribe: object): Promise<string[]> {
  return page.evaluate(
    (subscribe) =>
      new Promise<string[]>((resolve, reject) => {
        const seen: string[] = [];
        const socket = new WebSocket(`ws://${location.host}/v1/ws`, "runcast.v1");
        socket.onopen = () => socket.send(JSON.stringify(subscribe));
        socket.onmessage = ({ data }) => {
          seen.push(data);
          const { type } = JSON.parse(data);
          if (type === "subscribed") window.readers += 1;
          if (type === "end") socket.close(1000);
        };
        socket.onclose = ({ code, wasClean }) => {
          if (code === 1000 && wasClean) resolve(seen);
          else reject(new Error(`closed with ${code}`));
        };
      }),
    subscribe,
  );
}

/** Messages say exactly these events, in order, and the end. */
function expectMessages(seen: readonly string[], run: string, lines: readonly string[]): void {
  const [first, ...others] = seen;
  expect(JSON.parse(first ?? "").type).toBe("subscribed");
  const { offset } = JSON.parse(lines.at(-1) ?? "");
  let at = 0;
  for (const message of others.slice(0, -1)) {
    const { events, cursor } = JSON.parse(message);
    const next = lines.slice(at, at + events.length).join(",");
    expect(message).toBe(
      `{"type":"events","run":"${run}","events":[${next}],"cursor":"${cursor}"}`,
    );
    at += events.length;
    // A cursor moves past what was not chosen, but never past what was.
    expect(Number(cursor)).toBeGreaterThanOrEqual(events.at(-1).offset);
    expect(Number(cursor)).toBeLessThan(JSON.parse(lines[at] ?? "{}").offset ?? offset + 1);
  }
  expect(at).toBe(lines.length);
  const end = { type: "end", run, offset, event_type: "run.completed", cursor: `${offset}` };
  expect(JSON.parse(others.at(-1) ?? "")).toEqual(end);
}

it.each([
  { query: "", choice: {} },
  { query: "?coalesce=1", choice: { coalesce: true } },
  {
    query: "?type=my.*&type=run.*",
    choice: { filter: { type: ["my.*", "run.*"] } },
  },
])("an event is one element of a message to a WebSocket, with $choice", async (asked) => {
  const seen = await messages({ type: "subscribe", run: STORED, ...asked.choice });
  expectMessages(seen, STORED, await exported(STORED, asked.query));
});

/** Publishes from a browser, each by itself, and gives those that were accepted. */
function publishFromBrowser(run: string, bodies: readonly string[]): Promise<string[]> {
  return page.evaluate(
    ([run, bodies]) =>
      new Promise<string[]>((resolve, reject) => {
        const stored: string[] = [];
        const socket = new WebSocket(`ws://${location.host}/v1/ws`, "runcast.v1");
        let at = -1;
        const next = () => {
          at += 1;
          const start = `{"type":"publish","id":${at},"run":"${run}","events":[`;
          if (at < bodies.length) socket.send(`${start}${bodies[at]}]}`);
          else socket.close(1000);
        };
        socket.onopen = next;
        socket.onmessage = ({ data }) => {
          const { type, id, problem } = JSON.parse(data);
          if (type === "published" && id === at) stored.push(bodies[at] ?? "");
          else if (problem?.code !== "invalid_event" || id !== at) reject(new Error(data));
          next();
        };
        socket.onclose = () => resolve(stored);
      }),
    [run, bodies] as const,
  );
}

it("what a browser publishes is what browsers hear live, over both transports", async () => {
  await page.evaluate(() => {
    window.readers = 0;
  });
  const followed = frames(`/v1/runs/${LIVE}/events`);
  const streamed = frames(`/v1/streams?run=${LIVE}`);
  const subscribed = messages({ type: "subscribe", run: LIVE });
  await page.waitForFunction(() => window.readers === 3);
  const stored = await publishFromBrowser(LIVE, [...BODIES, '{"type":"run.completed"}']);
  expect(stored.slice(0, -1)).toEqual(accepted);
  const lines = await exported(LIVE);
  expectAsSent(lines, accepted);
  expectMessages(await subscribed, LIVE, lines);
  const data = (seen: Frame[]) =>
    seen.filter(({ name }) => name === "message").map((frame) => frame.data);
  expect(data(await followed)).toEqual(lines);
  const named = lines.map((line) => line.replace("{", `{"run":"${LIVE}",`));
  expect(data(await streamed)).toEqual(named);
  const ids = lines.map((_, at) => `${at + 1}`);
  expect((await followed).slice(0, -1).map(({ id }) => id)).toEqual(ids);
  const both = (await streamed).filter(({ name }) => name === "message");
  expect(both.map(({ id }) => id)).toEqual(ids.map((id) => `${LIVE}:${id}`));
});

it("no run's id and no cursor can hold a line end", async () => {
  for (const text of FORGED) {
    const path = `${server.url}/v1/runs/${encodeURIComponent(text)}/events`;
    const followed = await fetch(path, { headers: { Accept: "text/event-stream" } });
    expect(followed.status).toBe(400);
    expect(await followed.json()).toMatchObject({ code: "invalid_run_id" });
    const query = `after=${encodeURIComponent(text)}`;
    const cursor = await fetch(`${server.url}/v1/runs/a/events?${query}`, {
      headers: { Accept: "text/event-stream" },
    });
    expect(cursor.status).toBe(400);
  }
});
