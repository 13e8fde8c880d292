/** A Redis of a test's own, on a port of the system's choice, that keeps what it has acknowledged. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export class Redis {
  readonly #directory: string;
  readonly #port: number;
  #process: ChildProcess | undefined;

  private constructor(directory: string, port: number) {
    this.#directory = directory;
    this.#port = port;
  }

  static async start(): Promise<Redis> {
    const directory = await mkdtemp(join(tmpdir(), "runcast-e2e-redis-"));
    const redis = new Redis(directory, await freePort());
    await redis.restart();
    return redis;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.#port}`;
  }

  /** Kills it as a crash would. */
  async kill(): Promise<void> {
    const process = this.#process;
    if (!process) return;
    this.#process = undefined;
    const gone = once(process, "exit");
    process.kill("SIGKILL");
    await gone;
  }

  /** Starts it again, on what it has on its disk. */
  async restart(): Promise<void> {
    await this.kill();
    const where = ["--port", `${this.#port}`, "--bind", "127.0.0.1", "--dir", this.#directory];
    const keeps = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
    const process = spawn("redis-server", [...where, ...keeps], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    this.#process = process;
    await new Promise<void>((resolve, reject) => {
      createInterface(process.stdout).on("line", (line) => {
        if (line.includes("Ready to accept connections")) resolve();
      });
      process.on("error", reject);
      process.on("exit", () => reject(new Error("redis-server ended")));
    });
  }

  async stop(): Promise<void> {
    await this.kill();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
