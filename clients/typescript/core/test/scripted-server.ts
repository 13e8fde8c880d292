/**
 * A server whose answers a test writes: for what the real one never does, and when it does it.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export type Answer = (response: ServerResponse, request: IncomingMessage) => void;

export class ScriptedServer {
  /** The paths of all requests, in order. */
  readonly requests: string[] = [];
  readonly #streams: Answer[] = [];
  readonly #others = new Map<string, Answer>();
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  static async start(): Promise<ScriptedServer> {
    const server = new ScriptedServer();
    await new Promise<void>((resolve) => server.#server.listen(0, "127.0.0.1", resolve));
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The next answers to requests for an event stream. */
  streams(...answers: Answer[]): void {
    this.#streams.push(...answers);
  }

  /** The answer to every other request for a path. */
  on(path: string, answer: Answer): void {
    this.#others.set(path, answer);
  }

  /** The `after` of each request for an event stream. */
  get cursors(): (string | null)[] {
    const streams = this.requests.filter((path) => path.includes("/events"));
    return streams.map((path) => new URL(path, this.url).searchParams.get("after"));
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url ?? "/";
    this.requests.push(path);
    const isStream = request.headers.accept === "text/event-stream";
    const answer = isStream
      ? this.#streams.shift()
      : this.#others.get(new URL(path, "http://server").pathname);
    if (answer) answer(response, request);
    else problem(404, "run_not_found")(response, request);
  }
}

export const problem =
  (status: number, code: string, more: object = {}): Answer =>
  (response) => {
    response.writeHead(status, { "Content-Type": "application/problem+json" });
    response.end(JSON.stringify({ type: `urn:runcast:problem:${code}`, status, code, ...more }));
  };

export const json =
  (body: unknown, headers: Record<string, string> = {}): Answer =>
  (response) => {
    response.writeHead(200, { "Content-Type": "application/json", ...headers });
    response.end(JSON.stringify(body));
  };

export const status =
  (code: number): Answer =>
  (response) => {
    response.writeHead(code);
    response.end();
  };

/** An event stream of these parts, closed behind the last one or left open. */
export const stream =
  (parts: string[], then: "close" | "stay" | "break" = "close"): Answer =>
  (response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write(parts.join(""));
    if (then === "close") response.end();
    if (then === "break") setImmediate(() => response.destroy());
  };

export function frame(offset: number, data: unknown = {}, epoch = 1, type = "my.event"): string {
  const event = { offset, type, time: "2026-11-20T21:16:00Z", data };
  const id = epoch === 1 ? `${offset}` : `${epoch}.${offset}`;
  return `id: ${id}\ndata: ${JSON.stringify(event)}\n\n`;
}

export function special(event: string, data: object): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}
