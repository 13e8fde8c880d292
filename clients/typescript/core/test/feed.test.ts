import { afterEach, beforeEach, expect, it } from "vitest";
import { type FeedEvent, followFeed, isFeedEvent } from "../src/index.ts";
import { json, ScriptedServer, stream } from "./scripted-server.ts";

let server: ScriptedServer;
beforeEach(async () => {
  server = await ScriptedServer.start();
});
afterEach(() => server.stop());

function entry(offset: number, run: string, type: string): string {
  const data = { workflow: "w", name: null, tags: [], status: "running", epoch: 1, offset: 1 };
  const event = { offset, type, time: "2026-01-02T03:04:05.000000Z", run, data };
  return `id: ${offset}\ndata: ${JSON.stringify(event)}\n\n`;
}

it("the feed is followed over broken connections and has no end", async () => {
  server.on("/v1/feed", json({ last: 2 }));
  server.streams(
    stream([entry(2, "a", "run.started")], "break"),
    stream([entry(3, "b", "run.created"), entry(4, "a", "run.deleted")], "stay"),
  );
  const phases: string[] = [];
  const feed = followFeed(server.url, {
    after: "1",
    backoff: { base_ms: 1 },
    onState: ({ phase }) => phases.push(phase),
  });
  const told: string[] = [];
  for await (const item of feed) {
    if (item.kind !== "event" || !isFeedEvent(item.event)) throw new Error(item.kind);
    const event: FeedEvent = item.event;
    told.push(`${event.run} ${event.type} ${event.data.status}`);
    if (told.length === 3) break;
  }
  expect(told).toEqual(["a run.started running", "b run.created running", "a run.deleted running"]);
  expect(feed.cursor).toBe("4");
  expect(phases).toContain("reconnecting");
  const streams = server.requests.filter((path) => path.includes("after="));
  expect(streams).toEqual(["/v1/feed?after=1", "/v1/feed?after=2"]);
});

it("chosen events may leave others out", async () => {
  server.streams(
    stream([entry(3, "a", "run.failed"), "id: 7\n\n", entry(9, "b", "run.failed")], "stay"),
  );
  const choice = { workflow: ["a b"], status: ["failed" as const], type: ["run.*"] };
  const feed = followFeed(`${server.url}/`, { choice });
  const offsets: number[] = [];
  for await (const item of feed) {
    if (item.kind === "event") offsets.push(item.event.offset);
    if (offsets.length === 2) break;
  }
  expect(offsets).toEqual([3, 9]);
  expect(server.requests[0]).toBe("/v1/feed?after=0&workflow=a+b&status=failed&type=run.*");
});
