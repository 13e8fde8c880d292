/** A run that obeys: it follows its mailbox over HTTP and says what becomes of each command. */

import { Client, type Follow, type RunEvent } from "@runcast/core";
import type { RuncastServer } from "./server.ts";

/** What the agent makes of a command, or nothing for one that it leaves undelivered. */
type Obey = (command: { readonly id: string; readonly name: string }) => Promise<void>;

export class Agent {
  readonly client: Client;
  readonly #server: RuncastServer;
  readonly #run: string;
  readonly #mailbox: Follow;
  readonly #done: Promise<void>;
  /** The answers that it was told, by input. */
  readonly answers = new Map<string, unknown>();
  #told: (() => void)[] = [];

  private constructor(server: RuncastServer, run: string, obey: (agent: Agent) => Obey) {
    this.#server = server;
    this.#run = run;
    this.client = new Client({ url: server.url });
    this.#mailbox = this.client.followMailbox(run);
    this.#done = this.#work(obey(this));
  }

  static async start(
    server: RuncastServer,
    run: string,
    obey: (agent: Agent) => Obey,
  ): Promise<Agent> {
    await server.publish(run, { type: "run.started", data: { name: `Agent ${run}` } });
    return new Agent(server, run, obey);
  }

  /** Says that it has the command, does what `type` says, and says that it is done. */
  async carryOut(id: string, type: string): Promise<void> {
    await this.client.acknowledge(this.#run, id, { status: "delivered" });
    await this.#server.publish(this.#run, { type });
    if (type === "run.cancelled") return;
    await this.client.acknowledge(this.#run, id, { status: "done" });
  }

  async say(id: string, outcome: Parameters<Client["acknowledge"]>[2]): Promise<void> {
    await this.client.acknowledge(this.#run, id, outcome);
  }

  /** The answer to an input, when it has come. */
  async answer(input: string): Promise<unknown> {
    while (!this.answers.has(input)) await new Promise<void>((heard) => this.#told.push(heard));
    return this.answers.get(input);
  }

  async stop(): Promise<void> {
    this.#mailbox.close();
    await this.#done;
  }

  async #work(obey: Obey): Promise<void> {
    for await (const item of this.#mailbox) {
      if (item.kind === "event") await this.#hear(item.event, obey);
    }
  }

  async #hear({ type, data }: RunEvent, obey: Obey): Promise<void> {
    const said = data as { command: string; name: string; input: string; answer?: unknown };
    if (type === "command.requested") await obey({ id: said.command, name: said.name });
    if (type !== "input.answered" && type !== "input.timed_out") return;
    this.answers.set(said.input, said.answer);
    for (const heard of this.#told.splice(0)) heard();
  }
}

/** A moment that a test decides on. */
export class Moment {
  #come = () => {};
  readonly promise = new Promise<void>((resolve) => {
    this.#come = resolve;
  });

  come(): void {
    this.#come();
  }
}
