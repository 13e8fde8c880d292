/**
 * Reads a `text/event-stream`, byte for byte as the standard says, however the bytes are cut.
 *
 * Owns no connection. Memory is bounded: a line or a frame that passes `frame_chars_max` is an error
 * and not a buffer that grows.
 */

import { ProtocolError } from "./problem.ts";

export interface SseFrame {
  /** The `event:` name, or `message`. */
  readonly event: string;
  /** Absent from a frame that only moves the cursor, says when to come back, or is a comment. */
  readonly data?: string;
  /** It has nothing but comments: a sign of life. */
  readonly isComment?: true;
  /** `retry:`: how long to wait before the next connection. */
  readonly retry_ms?: number;
  /** The last `id:` that was seen, on this frame or before it. */
  readonly id: string;
}

/** Above the largest event (256 KiB as stored; escapes can make its JSON longer). */
export const FRAME_CHARS_MAX = 2 * 1024 * 1024;

export class SseParser {
  readonly #decoder = new TextDecoder("utf-8");
  readonly #max: number;
  #partial = "";
  #skipLineFeed = false;
  #event = "";
  #data: string | undefined;
  #id = "";
  #hasId = false;
  #hasComment = false;
  #retryMs: number | undefined;

  constructor(frameCharsMax: number = FRAME_CHARS_MAX) {
    this.#max = frameCharsMax;
  }

  /** Takes the next bytes and gives the frames that they complete. */
  push(bytes: Uint8Array): SseFrame[] {
    let text = this.#decoder.decode(bytes, { stream: true });
    const frames: SseFrame[] = [];
    if (this.#skipLineFeed && text.length > 0) {
      // The CR that ended the last chunk was the first half of a CRLF.
      if (text.startsWith("\n")) text = text.slice(1);
      this.#skipLineFeed = false;
    }
    const hasReturn = text.includes("\r");
    let start = 0;
    for (;;) {
      const end = hasReturn ? lineEnd(text, start) : text.indexOf("\n", start);
      if (end === -1) break;
      this.#line(this.#partial + text.slice(start, end), frames);
      this.#partial = "";
      start = end + 1;
      if (text[end] === "\r") {
        if (text[start] === "\n") start += 1;
        else if (start === text.length) this.#skipLineFeed = true;
      }
    }
    this.#partial += text.slice(start);
    this.#check(this.#partial.length);
    return frames;
  }

  #line(line: string, frames: SseFrame[]): void {
    if (line === "") {
      this.#frame(frames);
      this.#hasId = false;
      this.#hasComment = false;
      this.#retryMs = undefined;
      this.#event = "";
      this.#data = undefined;
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) {
      this.#hasComment = true;
      return;
    }
    const field = colon === -1 ? line : line.slice(0, colon);
    const from = line[colon + 1] === " " ? colon + 2 : colon + 1;
    const value = colon === -1 ? "" : line.slice(from);
    if (field === "data") {
      this.#check((this.#data?.length ?? 0) + value.length);
      this.#data = this.#data === undefined ? value : `${this.#data}\n${value}`;
    } else if (field === "event") {
      this.#event = value;
    } else if (field === "id" && !value.includes("\0")) {
      this.#id = value;
      this.#hasId = true;
    } else if (field === "retry" && /^\d{1,9}$/.test(value)) {
      this.#retryMs = Number(value);
    }
  }

  /** The frame that the lines before an empty one make, if they make any. */
  #frame(frames: SseFrame[]): void {
    const isEmpty = this.#data === undefined && this.#retryMs === undefined && !this.#hasId;
    if (isEmpty) {
      if (this.#hasComment) frames.push({ event: "message", id: this.#id, isComment: true });
      return;
    }
    frames.push({
      event: this.#event || "message",
      id: this.#id,
      ...(this.#data !== undefined && { data: this.#data }),
      ...(this.#retryMs !== undefined && { retry_ms: this.#retryMs }),
    });
  }

  #check(chars: number): void {
    if (chars > this.#max) {
      throw new ProtocolError(`a frame of the event stream passes ${this.#max} characters`);
    }
  }
}

function lineEnd(text: string, start: number): number {
  const feed = text.indexOf("\n", start);
  const stop = feed === -1 ? text.length : feed;
  for (let at = start; at < stop; at += 1) {
    if (text.charCodeAt(at) === 13) return at;
  }
  return feed;
}
