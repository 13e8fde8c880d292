import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  type Choice,
  decideClose,
  type FollowItem,
  ProblemError,
  RuncastSocket,
  type Subscription,
} from "../src/index.ts";
import { FakeSocket } from "./fake-socket.ts";

type Json = Record<string, unknown>;

interface Step {
  readonly client?: Json;
  readonly server?: Json;
  readonly gives?: Json[];
  readonly lost?: boolean;
  readonly connection?: "breaks";
}

function cases<T>(name: string): T[] {
  const url = new URL(`../../../../protocol/cases/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(url, "utf8"));
}

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.all.length = 0;
});

afterEach(() => {
  vi.useRealTimers();
});

/** Plays a client's part: what it does not say by itself, it is asked to say. */
class Player {
  readonly socket = new RuncastSocket({
    url: "http://server",
    WebSocket: FakeSocket,
    producer: { id: "p", epoch: 0 },
  });
  readonly given: Json[] = [];
  readonly #subscriptions = new Map<string, Subscription>();
  #heard = 0;
  #lastId: unknown;

  ask(message: Json): void {
    const run = message.run as string;
    if (message.type === "subscribe") {
      const filter = (message.filter ?? {}) as Choice;
      const choice = { ...filter, coalesce: message.coalesce === true };
      const subscription = this.socket.follow(run, { after: message.after as string, choice });
      this.#subscriptions.set(run, subscription);
      void this.#read(subscription);
    } else if (message.type === "unsubscribe") {
      this.#subscriptions.get(run)?.close();
    } else {
      const published = this.socket.publish(run, message.events as { type: string }[]);
      published.then(
        ({ stored, duplicates }) => this.given.push({ kind: "published", stored, duplicates }),
        (error: ProblemError) => this.given.push({ kind: "refused", code: error.code }),
      );
    }
    if (FakeSocket.newest.onopen && this.socket.state.phase === "connecting") {
      FakeSocket.newest.open();
    }
  }

  hears(): Json {
    const message = FakeSocket.newest.sent[this.#heard];
    if (!message) throw new Error("the client says nothing");
    this.#heard += 1;
    this.#lastId = message.id ?? this.#lastId;
    return message;
  }

  get hasSaid(): boolean {
    return FakeSocket.newest.sent.length > this.#heard;
  }

  say(message: Json): void {
    FakeSocket.newest.say("id" in message ? { ...message, id: this.#lastId } : message);
  }

  async break(): Promise<void> {
    FakeSocket.newest.end();
    this.#heard = 0;
    await vi.advanceTimersByTimeAsync(60_000);
    FakeSocket.newest.open();
  }

  async #read(subscription: Subscription): Promise<void> {
    try {
      for await (const item of subscription) this.given.push(told(item));
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error;
      this.given.push({ kind: "refused", code: error.code });
    }
  }
}

function told(item: FollowItem): Json {
  if (item.kind === "event") return { kind: "event", offset: item.event.offset };
  if (item.kind === "gap") return { kind: "gap", ...item.gap };
  return { ...item };
}

describe("the client's part of every dialogue", () => {
  test.each(cases<{ name: string; steps: Step[] }>("dialogues"))("$name", async ({ steps }) => {
    const player = new Player();
    for (const { client, server, gives = [], lost, connection } of steps) {
      if (client) {
        if (FakeSocket.all.length === 0 || !player.hasSaid) player.ask(client);
        const { id, ...expected } = client;
        const { id: chosen, ...said } = player.hears();
        expect(said).toEqual(expected);
        expect(chosen === undefined).toBe(id === undefined);
      } else if (server && !lost) {
        player.say(server);
        await vi.advanceTimersByTimeAsync(0);
        expect(player.given.splice(0)).toEqual(gives);
      } else if (connection === "breaks") {
        await player.break();
      }
    }
    expect(player.hasSaid).toBe(false);
    player.socket.close();
  });
});

test.each(cases<{ code: number; reason: string }>("closes"))(
  "the close code $code says whether to come back",
  ({ code, reason, ...decision }) => {
    expect(decideClose(code, reason)).toEqual(decision);
  },
);

interface Refusal {
  readonly name: string;
  readonly problem?: Json & { code: string };
}

test.each(cases<Refusal>("refusals").filter(({ problem }) => problem))(
  "a refusal is an error with its code and its members: $name",
  async ({ problem }) => {
    const player = new Player();
    const published = player.socket.publish("r", [{ type: "a.b" }]);
    FakeSocket.newest.open();
    const { id } = player.hears();
    const refused = expect(published).rejects.toMatchObject({
      name: "ProblemError",
      code: problem?.code,
      members: problem ?? {},
    });
    player.say({ type: "error", id, problem: { ...problem, status: 400 } });
    await refused;
  },
);
