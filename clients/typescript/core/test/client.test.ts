import { afterEach, beforeEach, expect, it } from "vitest";
import { Client } from "../src/index.ts";
import {
  frame,
  json,
  problem,
  ScriptedServer,
  special,
  status,
  stream,
} from "./scripted-server.ts";

let server: ScriptedServer;
let client: Client;
beforeEach(async () => {
  server = await ScriptedServer.start();
  client = new Client({ url: `${server.url}/` });
});
afterEach(() => server.stop());

it("a list is asked for by status, workflow and tags, and again by its etag", async () => {
  server.on("/v1/runs", (response, request) => {
    if (request.headers["if-none-match"] === '"a"') status(304)(response, request);
    else json({ runs: [{ id: "r" }], next: "c" }, { ETag: '"a"' })(response, request);
  });
  const query = { status: ["running", "queued"] as const, workflow: "w", tag: ["a&b"], limit: 5 };
  const first = await client.list({ ...query, cursor: "x" });
  expect(first).toEqual({ changed: true, runs: [{ id: "r" }], next: "c", etag: '"a"' });
  expect(server.requests).toEqual([
    "/v1/runs?status=running&status=queued&workflow=w&tag=a%26b&limit=5&cursor=x",
  ]);
  expect(await client.list({ etag: '"a"' })).toEqual({ changed: false });
});

it("a list is asked for by steps, open questions, text and time, with its counts", async () => {
  server.on("/v1/runs", json({ runs: [], next: null, feed: "1", counts: { failed: 2 } }));
  const time = { created_after: "2026-11-20T00:00:00Z", created_before: "2026-11-21T00:00:00Z" };
  const query = { step_status: ["failed"] as const, input: "open" as const, text: "é", ...time };
  expect(await client.list({ ...query, counts: true })).toMatchObject({ counts: { failed: 2 } });
  expect(decodeURIComponent(server.requests[0] ?? "")).toBe(
    "/v1/runs?step_status=failed&input=open&text=é&created_after=2026-11-20T00:00:00Z&created_before=2026-11-21T00:00:00Z&counts=1",
  );
});

it("a page is asked for by cursor, limit, text and wait", async () => {
  server.on("/v1/runs/a:b/events", json({ events: [], next: "7" }));
  server.on("/v1/runs/a%3Ab/events", json({ events: [], next: "7" }));
  const page = await client.page("a:b", { after: "2.7", limit: 500, contains: "é", wait_ms: 0 });
  expect(page.next).toBe("7");
  expect(server.requests).toEqual([
    "/v1/runs/a%3Ab/events?after=2.7&limit=500&contains=%C3%A9&wait=0",
  ]);
});

it("a run is got and removed", async () => {
  server.on("/v1/runs/r", (response, request) => {
    if (request.method === "DELETE") status(204)(response, request);
    else json({ id: "r", offset: 3 })(response, request);
  });
  expect(await client.get("r")).toEqual({ id: "r", offset: 3 });
  await client.remove("r");
});

it("a refusal is a problem with its code, and a proxy's page is an unknown one", async () => {
  const detail = "no run is named nobody";
  server.on("/v1/runs/nobody", problem(404, "run_not_found", { detail, run: "nobody" }));
  await expect(client.get("nobody")).rejects.toMatchObject({
    name: "ProblemError",
    code: "run_not_found",
    status: 404,
    message: detail,
    members: { run: "nobody" },
    isTransient: false,
  });
  server.on("/v1/runs/proxy", (response) => response.writeHead(502).end("<h1>Bad gateway"));
  await expect(client.get("proxy")).rejects.toMatchObject({ code: "unknown", isTransient: true });
});

it("an answer that is not JSON, cut off or missing says so", async () => {
  server.on("/v1/runs/text", (response) => response.end("hello"));
  await expect(client.get("text")).rejects.toMatchObject({ name: "ProtocolError" });
  server.on("/v1/runs/cut", (response) => {
    response.writeHead(200, { "Content-Length": "100" });
    response.write("{");
    setImmediate(() => response.destroy());
  });
  await expect(client.get("cut")).rejects.toMatchObject({ name: "NetworkError" });
  server.on("/v1/runs/silent", () => {});
  const hasty = new Client({ url: server.url, timeout_ms: 20 });
  await expect(hasty.get("silent")).rejects.toMatchObject({ name: "NetworkError" });
  await expect(client.get("silent", AbortSignal.abort())).rejects.toMatchObject({
    name: "AbortError",
  });
});

/** Remembers what was posted, and answers with it. */
function echoes(path: string, posted: unknown[]): void {
  server.on(path, (response, request) => {
    let body = "";
    request.on("data", (chunk) => {
      body += chunk;
    });
    request.on("end", () => {
      posted.push([request.method, request.headers["content-type"], JSON.parse(body)]);
      json({ command: "c", status: "requested" })(response, request);
    });
  });
}

it("a run is asked, says what became of it, and gets an answer", async () => {
  const posted: unknown[] = [];
  const as = (body: unknown) => ["POST", "application/json", body];
  echoes("/v1/runs/r/commands", posted);
  const set = { name: "set", args: { t: 1 }, key: "k", by: "ada", reason: "why", timeout_ms: 5 };
  expect(await client.command("r", set)).toEqual({ command: "c", status: "requested" });
  echoes("/v1/runs/r/commands/a%2Fb", posted);
  await client.acknowledge("r", "a/b", { status: "refused", reason: "busy" });
  echoes("/v1/runs/r/inputs/i", posted);
  await client.answer("r", "i", { answer: null, by: "ada" });
  expect(posted).toEqual([
    as(set),
    as({ status: "refused", reason: "busy" }),
    as({ answer: null, by: "ada" }),
  ]);
});

it("the second answer is told who was first", async () => {
  const first = { by: "ada", at: "2026-11-20T21:16:00Z", input_status: "answered" };
  server.on("/v1/runs/r/inputs/i", problem(409, "input_closed", first));
  const second = client.answer("r", "i", { answer: "no" });
  await expect(second).rejects.toMatchObject({ code: "input_closed", members: first });
});

it("open inputs are asked for by workflow, tags and place", async () => {
  server.on("/v1/inputs", json({ inputs: [{ run: "r", input: "i" }], next: null }));
  const query = { workflow: "w", tag: ["a", "b"], limit: 5, cursor: "c" };
  expect(await client.inputs(query)).toEqual({ inputs: [{ run: "r", input: "i" }], next: null });
  expect(server.requests).toEqual(["/v1/inputs?workflow=w&tag=a&tag=b&limit=5&cursor=c"]);
});

it("a producer says that it is there, and follows what is said to its run", async () => {
  server.on("/v1/runs/r/heartbeat", (response, request) =>
    status(request.method === "POST" ? 204 : 405)(response, request),
  );
  server.on("/v1/runs/r", json({ id: "r", offset: 9 }));
  await client.heartbeat("r");
  const asked = frame(4, { command: "c" }, 1, "command.requested");
  server.streams(
    stream([asked, "id: 9\n\n", special("end", { offset: 9, type: "run.completed" })]),
  );
  const items = [];
  for await (const item of client.followMailbox("r", { after: "2" })) items.push(item);
  expect(items.map((item) => item.kind)).toEqual(["event", "end"]);
  expect(server.requests).toContain("/v1/runs/r/commands?after=2");
});
