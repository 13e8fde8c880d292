import { afterEach, beforeEach, expect, it } from "vitest";
import { Client } from "../src/index.ts";
import { json, problem, ScriptedServer, status } from "./scripted-server.ts";

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
    "/v1/runs?status=running&status=queued&tag=a%26b&workflow=w&limit=5&cursor=x",
  ]);
  expect(await client.list({ etag: '"a"' })).toEqual({ changed: false });
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
