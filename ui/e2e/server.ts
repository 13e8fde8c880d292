/** The real server, in a process and a data directory of its own. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export const BIN =
  process.env.RUNCAST_BIN ?? join(import.meta.dirname, "../../target/debug/runcast");
/** The most events of one append. */
const BATCH_EVENTS = 1_000;

export interface Draft {
  readonly type: string;
  readonly time?: string;
  readonly data?: unknown;
  readonly [label: string]: unknown;
}

export class RuncastServer {
  url = "";
  #process: ChildProcess | undefined;
  readonly #data: string;
  /** Where its events are, and its settings. */
  readonly #options: readonly string[];

  private constructor(data: string, store: readonly string[], settings: readonly string[]) {
    this.#data = data;
    this.#options = [...store, ...settings.flatMap((setting) => ["--set", setting])];
  }

  /** Starts one, with settings such as `wal_bytes_max=100000`. */
  static async start(...settings: string[]): Promise<RuncastServer> {
    const data = await mkdtemp(join(tmpdir(), "runcast-e2e-"));
    const server = new RuncastServer(data, ["--data", data], settings);
    await server.#spawn("127.0.0.1:0");
    return server;
  }

  /** Starts one that keeps its events in a Redis. */
  static async startOnRedis(redis: string, ...settings: string[]): Promise<RuncastServer> {
    const data = await mkdtemp(join(tmpdir(), "runcast-e2e-"));
    const server = new RuncastServer(data, ["--redis", redis], settings);
    await server.#spawn("127.0.0.1:0");
    return server;
  }

  /** Kills it as a crash of the machine's would: without a chance to finish anything. */
  async kill(): Promise<void> {
    const process = this.#process;
    if (!process) return;
    const gone = once(process, "exit");
    process.kill("SIGKILL");
    await gone;
    this.#process = undefined;
  }

  /** Asks it to stop, and waits until it has. */
  async terminate(): Promise<void> {
    const process = this.#process;
    if (!process) return;
    const gone = once(process, "exit");
    process.kill("SIGTERM");
    const [code] = await gone;
    if (code !== 0) throw new Error(`the server ended with ${code}`);
    this.#process = undefined;
  }

  /** Starts it again, on the same port and data. */
  async restart(): Promise<void> {
    await this.kill();
    await this.#spawn(new URL(this.url).host);
  }

  async stop(): Promise<void> {
    await this.kill();
    await rm(this.#data, { recursive: true, force: true });
  }

  /** Appends events, and comes back when they are durable. */
  async publish(run: string, ...events: Draft[]): Promise<void> {
    for (let at = 0; at < events.length; at += BATCH_EVENTS) {
      const response = await fetch(`${this.url}/v1/runs/${run}/events`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(events.slice(at, at + BATCH_EVENTS)),
      });
      if (!response.ok) throw new Error(await response.text());
    }
  }

  /** Appends many events that `draft` makes of their offsets, as fast as it goes. */
  async fill(run: string, count: number, draft: (offset: number) => Draft): Promise<void> {
    let offset = 0;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        const lines: string[] = [];
        while (offset < count && lines.length < BATCH_EVENTS) {
          offset += 1;
          lines.push(`${JSON.stringify(draft(offset))}\n`);
        }
        if (lines.length === 0) controller.close();
        else controller.enqueue(new TextEncoder().encode(lines.join("")));
      },
    });
    const response = await fetch(`${this.url}/v1/runs/${run}/events`, {
      method: "POST",
      headers: { "Content-Type": "application/x-ndjson" },
      body,
      duplex: "half",
    } as RequestInit);
    const answers = (await response.text()).trim().split("\n");
    const last = JSON.parse(answers.at(-1) ?? "{}") as { done?: boolean };
    if (last.done !== true) throw new Error(answers.at(-1));
  }

  async remove(run: string): Promise<void> {
    await fetch(`${this.url}/v1/runs/${run}`, { method: "DELETE" });
  }

  /** Damages a text in the sealed events; false while it is not sealed. */
  async rot(text: string): Promise<boolean> {
    for (const name of await readdir(this.#data)) {
      if (!name.endsWith(".seg")) continue;
      const bytes = await readFile(join(this.#data, name));
      const at = bytes.indexOf(text);
      if (at < 0) continue;
      bytes.writeUInt8(bytes.readUInt8(at) ^ 1, at);
      await writeFile(join(this.#data, name), bytes);
      return true;
    }
    return false;
  }

  async #spawn(listen: string): Promise<void> {
    const args = ["serve", "--listen", listen, ...this.#options];
    const process = spawn(BIN, args, { stdio: ["ignore", "pipe", "pipe"] });
    this.#process = process;
    const said: string[] = [];
    const address = new Promise<string>((resolve, reject) => {
      for (const stream of [process.stdout, process.stderr]) {
        if (!stream) continue;
        createInterface(stream).on("line", (line) => {
          said.push(line);
          const url = /http:\/\/[\d.:]+/.exec(line)?.[0];
          if (line.includes("serves") && url) resolve(url);
        });
      }
      process.on("error", reject);
      process.on("exit", () => reject(new Error(`the server ended: ${said.join("\n")}`)));
    });
    this.url = await address;
  }
}

export const output = (text: string, stream = "stdout"): Draft => ({
  type: "output",
  data: { text, stream },
});

export const lines = (from: number, to: number): Draft[] =>
  Array.from({ length: to - from + 1 }, (_, at) => output(`line ${from + at}\n`));
