/** What can go wrong between a client and the server: three kinds, each with its data. */

/** The stable codes of docs/http-api.md; a newer server may send others. */
export type ProblemCode =
  | "invalid_run_id"
  | "invalid_event"
  | "invalid_body"
  | "invalid_parameter"
  | "invalid_header"
  | "invalid_message"
  | "offset_in_future"
  | "event_after_end"
  | "producer_fenced"
  | "forbidden_origin"
  | "forbidden_host"
  | "not_found"
  | "run_not_found"
  | "method_not_allowed"
  | "not_acceptable"
  | "request_timeout"
  | "not_possible"
  | "input_closed"
  | "invalid_answer"
  | "command_not_found"
  | "input_not_found"
  | "run_exists"
  | "run_ended"
  | "offset_mismatch"
  | "sequence_gap"
  | "too_many_producers"
  | "already_subscribed"
  | "too_many_subscriptions"
  | "run_deleted"
  | "body_too_large"
  | "unsupported_media_type"
  | "upgrade_required"
  | "head_too_large"
  | "internal"
  | "too_many_followers"
  | "log_unavailable"
  | "state_behind"
  | "no_room"
  /** The answer was not a problem document: a proxy's, perhaps. */
  | "unknown";

/** The most bytes of a problem document that are read: it comes from the network. */
const PROBLEM_CHARS_MAX = 64 * 1024;

/** The server refused, and said why. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";
  readonly code: ProblemCode;
  readonly status: number;
  /** Members that name the thing: `field`, `line`, `last`, … */
  readonly members: Readonly<Record<string, unknown>>;

  constructor(status: number, members: Readonly<Record<string, unknown>>) {
    const code = typeof members.code === "string" ? members.code : "unknown";
    const said = members.detail ?? members.title;
    super(typeof said === "string" ? said : `the server answered ${status}`);
    this.code = code as ProblemCode;
    this.status = status;
    this.members = members;
  }

  /** Whether the same request may succeed later. */
  get isTransient(): boolean {
    return this.status >= 500 || this.status === 408 || this.status === 429;
  }

  /** Reads a refusal; a body that is no problem document gives the code `unknown`. */
  static async from(response: Response): Promise<ProblemError> {
    const text = await response.text().catch(() => "");
    try {
      const body: unknown = JSON.parse(text.slice(0, PROBLEM_CHARS_MAX));
      if (typeof body === "object" && body !== null) {
        return new ProblemError(response.status, body as Record<string, unknown>);
      }
    } catch {
      // Not JSON: the status has to say it.
    }
    return new ProblemError(response.status, {});
  }
}

/** The server was not reached, or the connection broke. */
export class NetworkError extends Error {
  override readonly name = "NetworkError";
}

/** The server sent what the contract does not allow. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}
