/** The messages of `runcast.v1`, as protocol/PROTOCOL.md has them. */

import { ProtocolError } from "./problem.ts";

export const SUBPROTOCOL = "runcast.v1";
/** The largest message in bytes, in both directions. */
export const MESSAGE_BYTES_MAX = 1024 * 1024;

export interface ProducerStamp {
  readonly id: string;
  readonly epoch: number;
  /** The number of the first event. */
  readonly sequence: number;
}

export type ClientMessage =
  | {
      readonly type: "subscribe";
      readonly run: string;
      readonly after: string;
      readonly filter?: Readonly<Record<string, readonly string[]>>;
      readonly coalesce?: boolean;
    }
  | { readonly type: "unsubscribe"; readonly run: string }
  | {
      readonly type: "publish";
      readonly id: number;
      readonly run: string;
      readonly events: readonly unknown[];
      readonly producer: ProducerStamp;
      readonly expected_offset?: number;
      readonly create?: boolean;
    }
  | { readonly type: "ping" };

/** A message of the server; what is in it beside the type is checked where it is used. */
export type ServerMessage = Readonly<Record<string, unknown>> & { readonly type: string };

/** Reads a message of the server. */
export function parseMessage(data: unknown): ServerMessage {
  try {
    const value: unknown = typeof data === "string" ? JSON.parse(data) : undefined;
    if (typeof value === "object" && value !== null) {
      const message = value as Record<string, unknown>;
      if (typeof message.type === "string") return message as ServerMessage;
    }
  } catch {
    // Falls through to the one error.
  }
  throw new ProtocolError("the server sent what is no message");
}
