/**
 * The calls about runs: list, get, page, remove; asking them and answering what they ask; and the way
 * to follow one.
 *
 * Owns addresses and the reading of answers. Retries nothing: the caller knows whether it still
 * wants the answer.
 */

import { type FeedOptions, followFeed } from "./feed.ts";
import { type Choice, choiceQuery, Follow, type FollowOptions } from "./follow.ts";
import { NetworkError, ProblemError, ProtocolError } from "./problem.ts";
import type { Page, Run, RunStatus } from "./run.ts";
import type { Command, Input, RunState, WorkStatus } from "./run-state.ts";
import type { CommandDraft, InputList, InputQuery, Outcome } from "./talk.ts";

export interface ClientOptions {
  /** Where the server is; by default the page's own origin. */
  readonly url?: string;
  /** By default the global `fetch`. */
  readonly fetch?: typeof fetch;
  /** After this long without an answer a call fails; by default 30 s, and more with `wait_ms`. */
  readonly timeout_ms?: number;
}

export interface ListQuery {
  readonly status?: readonly RunStatus[];
  readonly workflow?: string;
  /** Runs that have all of these. */
  readonly tag?: readonly string[];
  /** Runs with a step that stands at any of these. */
  readonly step_status?: readonly WorkStatus[];
  /** Runs that wait for an answer. */
  readonly input?: "open";
  /** Runs with this text in their name or id, case ignored. */
  readonly text?: string;
  /** Runs of a time, RFC 3339. */
  readonly created_after?: string;
  readonly created_before?: string;
  /** Asks for `counts`. */
  readonly counts?: boolean;
  /** 1 to 1,000; by default 100. */
  readonly limit?: number;
  /** `next` of the list before. */
  readonly cursor?: string;
  /** The `etag` of an earlier answer to the same query. */
  readonly etag?: string;
  readonly signal?: AbortSignal;
}

export interface ChangedList {
  readonly changed: true;
  readonly runs: readonly Run[];
  readonly next: string | null;
  readonly etag: string | null;
  /** `after` for `followFeed`: what the feed says behind it, the list may not have. */
  readonly feed: string;
  /** How many runs there are by status, with all of the query but `status`. */
  readonly counts?: Readonly<Partial<Record<RunStatus, number>>>;
}

/** A list, or the fact that it is what it was when it had the `etag` that was sent. */
export type RunList = ChangedList | { readonly changed: false };

export interface PageQuery {
  /** A cursor; by default from the first event. */
  readonly after?: string;
  /** 1 to 1,000; by default 100. */
  readonly limit?: number;
  /** Only events with this text in their type or in a string of their data. */
  readonly contains?: string;
  readonly choice?: Choice;
  /** An empty page waits this long for an event; at most 60,000. */
  readonly wait_ms?: number;
  readonly signal?: AbortSignal;
}

/** How long a call may take without `timeout_ms`. */
const TIMEOUT_MS = 30_000;

export class Client {
  readonly #base: string;
  readonly #fetch: typeof fetch;
  readonly #timeoutMs: number;

  constructor(options: ClientOptions = {}) {
    this.#base = (options.url ?? "").replace(/\/+$/, "");
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
    this.#timeoutMs = options.timeout_ms ?? TIMEOUT_MS;
  }

  /** The address of a run in the API. */
  runUrl(run: string): string {
    return `${this.#base}/v1/runs/${encodeURIComponent(run)}`;
  }

  /** Runs, newest first. */
  async list(query: ListQuery = {}): Promise<RunList> {
    const { etag, signal, counts, ...filter } = query;
    const search = fieldsOf({ ...filter, counts: counts ? "1" : undefined });
    const headers: Record<string, string> = { Accept: "application/json" };
    if (etag !== undefined) headers["If-None-Match"] = etag;
    const address = withQuery(`${this.#base}/v1/runs`, search);
    const response = await this.#call(address, { headers }, signal);
    if (response.status === 304) return { changed: false };
    const body = (await json(response)) as Omit<ChangedList, "changed" | "etag">;
    return { changed: true, ...body, etag: response.headers.get("ETag") };
  }

  /** The run's state, true at its `offset`. */
  async get(run: string, signal?: AbortSignal): Promise<RunState> {
    const headers = { Accept: "application/json" };
    return (await json(await this.#call(this.runUrl(run), { headers }, signal))) as RunState;
  }

  /** Some events after a cursor. */
  async page(run: string, query: PageQuery = {}): Promise<Page> {
    const search = new URLSearchParams();
    if (query.after !== undefined) search.set("after", query.after);
    if (query.limit !== undefined) search.set("limit", `${query.limit}`);
    if (query.contains !== undefined) search.set("contains", query.contains);
    if (query.wait_ms !== undefined) search.set("wait", `${query.wait_ms}`);
    for (const [name, value] of new URLSearchParams(choiceQuery(query.choice))) {
      search.append(name, value);
    }
    const address = withQuery(`${this.runUrl(run)}/events`, search);
    const init = { headers: { Accept: "application/json" } };
    return (await json(await this.#call(address, init, query.signal, query.wait_ms))) as Page;
  }

  /** Deletes a run with all its events. */
  async remove(run: string, signal?: AbortSignal): Promise<void> {
    await this.#call(this.runUrl(run), { method: "DELETE" }, signal);
  }

  /** Asks a run for something; with a `key`, or a second `stop`, the command that is there already. */
  async command(run: string, command: CommandDraft, signal?: AbortSignal): Promise<Command> {
    return (await this.#post(`${this.runUrl(run)}/commands`, command, signal)) as Command;
  }

  /** Says, for the run, what became of a command. The same twice changes nothing. */
  async acknowledge(
    run: string,
    command: string,
    outcome: Outcome,
    signal?: AbortSignal,
  ): Promise<Command> {
    const address = `${this.runUrl(run)}/commands/${encodeURIComponent(command)}`;
    return (await this.#post(address, outcome, signal)) as Command;
  }

  /** Answers an input. The first answer counts: a later one is refused as `input_closed`. */
  async answer(
    run: string,
    input: string,
    answer: { readonly answer: unknown; readonly by?: string },
    signal?: AbortSignal,
  ): Promise<Input> {
    const address = `${this.runUrl(run)}/inputs/${encodeURIComponent(input)}`;
    return (await this.#post(address, answer, signal)) as Input;
  }

  /** The open inputs of all runs, the one that was asked first at the top. */
  async inputs(query: InputQuery = {}): Promise<InputList> {
    const { signal, ...filter } = query;
    const init = { headers: { Accept: "application/json" } };
    const address = withQuery(`${this.#base}/v1/inputs`, fieldsOf(filter));
    return (await json(await this.#call(address, init, signal))) as InputList;
  }

  /** Says that the run's producer is there. */
  async heartbeat(run: string, signal?: AbortSignal): Promise<void> {
    await this.#call(`${this.runUrl(run)}/heartbeat`, { method: "POST" }, signal);
  }

  /**
   * Follows what is said to a run: `command.requested`, `input.answered`, `input.timed_out`. Who does
   * is the run's producer.
   */
  followMailbox(run: string, options: Omit<FollowOptions, "choice"> = {}): Follow {
    const state = this.runUrl(run);
    const source = { stream: `${state}/commands`, state, choice: "", isPart: true };
    return new Follow(state, { fetch: this.#fetch, ...options }, source);
  }

  /** Follows a run, now or when it begins. */
  follow(run: string, options: FollowOptions = {}): Follow {
    return new Follow(this.runUrl(run), { fetch: this.#fetch, ...options });
  }

  /** Follows the life-cycle events of all runs. */
  followFeed(options: FeedOptions = {}): Follow {
    return followFeed(this.#base, { fetch: this.#fetch, ...options });
  }

  async #post(address: string, body: object, signal: AbortSignal | undefined): Promise<unknown> {
    const headers = { Accept: "application/json", "Content-Type": "application/json" };
    const init = { method: "POST", headers, body: JSON.stringify(body) };
    return await json(await this.#call(address, init, signal));
  }

  async #call(
    address: string,
    init: RequestInit,
    signal: AbortSignal | undefined,
    extraMs = 0,
  ): Promise<Response> {
    const limit = AbortSignal.timeout(this.#timeoutMs + extraMs);
    const either = signal ? AbortSignal.any([signal, limit]) : limit;
    let response: Response;
    try {
      // The browser's cache would answer a poll with what it had before.
      response = await this.#fetch(address, { ...init, signal: either, cache: "no-store" });
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw new NetworkError("the server does not answer", { cause: error });
    }
    if (!response.ok && response.status !== 304) throw await ProblemError.from(response);
    return response;
  }
}

async function json(response: Response): Promise<unknown> {
  try {
    return await response.json();
  } catch (error) {
    if (error instanceof SyntaxError) {
      throw new ProtocolError("the answer is not JSON", { cause: error });
    }
    // The connection broke in the middle of the answer, or the caller gave up.
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new NetworkError("the answer was cut off", { cause: error });
  }
}

/** What is given, as a query; a list repeats its name. */
function fieldsOf(
  fields: Readonly<Record<string, string | number | readonly string[] | undefined>>,
): URLSearchParams {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(fields)) {
    for (const one of value === undefined ? [] : [value].flat()) search.append(name, `${one}`);
  }
  return search;
}

function withQuery(address: string, search: URLSearchParams): string {
  const query = search.toString();
  return query === "" ? address : `${address}?${query}`;
}
