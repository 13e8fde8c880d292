import { RuncastSocket, type Subscription } from "@runcast/core";
import { afterAll, beforeAll, expect, it } from "vitest";
import { WebSocket as NodeWebSocket } from "ws";
import { RuncastServer } from "./server.ts";

let server: RuncastServer;

beforeAll(async () => {
  server = await RuncastServer.start();
});
afterAll(() => server.stop());

const RUNS = ["a", "b", "c"];
const EVENTS = 300;
const KILLS = 5;

/** The numbers that a reader sees, to the run's end. */
async function numbers(subscription: Subscription): Promise<unknown[]> {
  const seen: unknown[] = [];
  for await (const item of subscription) {
    if (item.kind === "gap" || item.kind === "deleted") throw new Error(item.kind);
    if (item.kind === "event" && item.event.type === "a.b") seen.push(item.event.data);
  }
  return seen;
}

it("what is published and followed over a WebSocket is there once, through kill -9", async () => {
  const backoff = { base_ms: 20, max_ms: 100 };
  const options = { url: server.url, WebSocket: NodeWebSocket, backoff };
  const writer = new RuncastSocket(options);
  const reader = new RuncastSocket(options);
  const followed = RUNS.map((run) => numbers(reader.follow(run)));
  let answered = 0;
  const publishing = RUNS.map(async (run) => {
    for (let number = 0; number < EVENTS; number += 1) {
      await writer.publish(run, [{ type: "a.b", data: number }]);
      answered += 1;
    }
    await writer.publish(run, [{ type: "run.completed" }]);
  });
  for (let kill = 1; kill <= KILLS; kill += 1) {
    const enough = (RUNS.length * EVENTS * kill) / (KILLS + 1);
    while (answered < enough) await new Promise(setImmediate);
    await server.restart();
  }
  await Promise.all(publishing);
  const expected = Array.from({ length: EVENTS }, (_, at) => at);
  for (const seen of await Promise.all(followed)) expect(seen).toEqual(expected);
  reader.close();
  writer.close();
});
