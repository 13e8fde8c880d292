/** What was said in a run, each message's text put together from its deltas. */

import type { Message } from "@runcast/core";
import { useState } from "preact/hooks";
import { manyLines } from "../log/terminal.ts";
import { clock, count } from "../view/time.ts";
import { brief } from "./steps.ts";

/** More of a message is shown when asked for. */
const SHORT_CHARS = 1_200;

export function Messages({ messages, omitted }: { messages: readonly Message[]; omitted: number }) {
  return (
    <>
      {omitted > 0 && <p class="omitted">{omitted} older messages are only in the log</p>}
      <ul class="messages">
        {messages.map((message) => (
          <MessageItem key={`${message.variation} ${message.message}`} message={message} />
        ))}
      </ul>
    </>
  );
}

function MessageItem({ message }: { message: Message }) {
  const [isWhole, setWhole] = useState(false);
  const { text, omitted_bytes = 0 } = message;
  const isLong = text.length > SHORT_CHARS;
  const time = message.completed_at ?? message.started_at;
  return (
    <li class={`message is-${message.status}`} data-message={message.message}>
      <div class="message-head">
        <bdi class="message-role">{brief(message.role ?? "message")}</bdi>
        {message.agent !== undefined && <bdi>{brief(message.agent)}</bdi>}
        {message.step !== undefined && <bdi>{brief(message.step)}</bdi>}
        {message.status !== "completed" && <span class="message-status">{message.status}</span>}
        {message.usage && <span>{count(message.usage.output_tokens)} tokens out</span>}
        {time !== undefined && <time dateTime={time}>{clock(time).join("").slice(0, 8)}</time>}
      </div>
      <bdi class="message-text">
        {manyLines(isLong && !isWhole ? `${text.slice(0, SHORT_CHARS)}…` : text)}
      </bdi>
      {isLong && (
        <button type="button" class="link" onClick={() => setWhole(!isWhole)}>
          {isWhole ? "show less" : `show all ${count(text.length)} characters`}
        </button>
      )}
      {omitted_bytes > 0 && <p class="omitted">{count(omitted_bytes)} bytes are only in the log</p>}
    </li>
  );
}
