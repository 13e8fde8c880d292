/**
 * All that waits for a person: how many questions, on every page, and on the inbox's page the
 * questions themselves.
 *
 * The server is asked now and then, and sooner when the feed says that a run changed. The feed does not
 * tell of a run's second question, and takes one of the few connections that a browser has, so that only
 * the inbox's page has it followed. A question that was shown stays where it is when it is answered, with
 * what became of it.
 */

import { type Client, type Input, ProblemError, type Question } from "@runcast/core";
import { signature } from "../view/person.ts";
import type { RunFeed } from "../view/run-feed.ts";

/** What changes within this time is asked for together. */
const GATHER_MS = 150;
/** How old the number of questions may be. */
const POLL_MS = 4_000;
/** So many runs that wait are counted. */
const RUNS_MAX = 1_000;
/** So many questions are shown. */
const QUESTIONS_MAX = 200;
/** So many that are over are still shown. */
const OVER_MAX = 50;

export class Inbox {
  /** The open questions of all runs. */
  count = 0;
  /** Nothing changes now: the server cannot reach its log. */
  get isLogAway(): boolean {
    return this.#feed.isLogAway;
  }

  /** What is shown: undefined until it was asked for. */
  questions: readonly Question[] | undefined;
  /** There are more than are shown. */
  hasMore = false;
  /** Why nothing new is known, if so. */
  trouble: string | undefined;
  readonly #client: Client;
  readonly #feed: RunFeed;
  readonly #listeners = new Set<() => void>();
  #unlisten: (() => void) | undefined;
  #release: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #etag: string | undefined;
  #isAsking = false;
  #isDue = false;
  #isShown = false;

  constructor(client: Client, feed: RunFeed) {
    this.#client = client;
    this.#feed = feed;
  }

  start(): void {
    document.addEventListener("visibilitychange", this.#onVisible);
    this.#onVisible();
  }

  close(): void {
    document.removeEventListener("visibilitychange", this.#onVisible);
    this.#pause();
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Shows the questions themselves, until the returned function is called. */
  show(): () => void {
    this.#isShown = true;
    this.#keepFeed();
    this.#askAnew();
    return () => {
      this.#isShown = false;
      this.questions = undefined;
      this.#keepFeed();
    };
  }

  readonly answer = async (run: string, input: string, answer: unknown): Promise<Input> => {
    try {
      return await this.#client.answer(run, input, { answer, ...signature() });
    } finally {
      this.#askAnew();
    }
  };

  readonly retry = (): void => this.#askAnew();

  readonly #onVisible = (): void => {
    this.#pause();
    if (document.visibilityState !== "visible") return;
    this.#unlisten = this.#feed.listen((news) => {
      if (news === "over") this.#etag = undefined;
      this.#askIn(GATHER_MS);
    });
    this.#keepFeed();
    this.#askAnew();
  };

  /** Has the feed followed while the questions are looked at. */
  #keepFeed(): void {
    const isLookedAt = this.#isShown && this.#unlisten !== undefined;
    if (isLookedAt) this.#release ??= this.#feed.keep();
    else {
      this.#release?.();
      this.#release = undefined;
    }
  }

  #pause(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#unlisten?.();
    this.#unlisten = undefined;
    this.#keepFeed();
  }

  #askAnew(): void {
    this.#etag = undefined;
    this.#askIn(0);
  }

  #askIn(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#ask(), ms);
  }

  async #ask(): Promise<void> {
    if (this.#isAsking) {
      this.#isDue = true;
      return;
    }
    this.#isAsking = true;
    this.#isDue = false;
    try {
      await this.#count();
      this.trouble = undefined;
    } catch (error) {
      const isProblem = error instanceof ProblemError;
      this.trouble = isProblem ? error.message : "The server does not answer.";
    }
    this.#isAsking = false;
    if (this.#unlisten) this.#askIn(this.#isDue ? GATHER_MS : POLL_MS);
    this.#notify();
  }

  async #count(): Promise<void> {
    const query = { input: "open", limit: RUNS_MAX } as const;
    const list = await this.#client.list(this.#etag ? { ...query, etag: this.#etag } : query);
    this.#feed.reconnectNow();
    if (list.changed) {
      this.count = list.runs.reduce((sum, run) => sum + run.open_inputs, 0);
      if (this.#unlisten && !this.#feed.begin(list.feed)) this.#isDue = true;
    }
    const isMissing = this.questions === undefined;
    if (this.#isShown && (list.changed || isMissing)) await this.#read();
    if (list.changed) this.#etag = list.etag ?? undefined;
  }

  async #read(): Promise<void> {
    const { inputs, next } = await this.#client.inputs({ limit: QUESTIONS_MAX });
    const open = new Map(inputs.map((question) => [keyOf(question), question]));
    const shown: Question[] = [];
    for (const known of this.questions ?? []) {
      const now = open.get(keyOf(known)) ?? (await this.#outcome(known));
      open.delete(keyOf(known));
      if (now) shown.push(now);
    }
    const over = shown.filter((question) => question.status !== "open");
    const forgotten = new Set(over.slice(0, Math.max(0, over.length - OVER_MAX)));
    if (!this.#isShown) return;
    this.questions = [...shown.filter((it) => !forgotten.has(it)), ...open.values()];
    this.hasMore = next !== null;
  }

  /** What became of a question that is not open any more; nothing if its run is gone. */
  async #outcome(known: Question): Promise<Question | undefined> {
    if (known.status !== "open") return known;
    try {
      const { inputs } = await this.#client.get(known.run);
      const input = inputs.find((it) => it.input === known.input);
      return input && { ...known, ...input };
    } catch (error) {
      if (error instanceof ProblemError && !error.isTransient) return undefined;
      throw error;
    }
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** What a question is told apart by. */
export function keyOf({ run, input }: Question): string {
  return JSON.stringify([run, input]);
}
