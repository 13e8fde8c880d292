/** The calls of tools: with what, to what end, how long. Folded until somebody looks. */

import type { ToolCall } from "@runcast/core";
import { useState } from "preact/hooks";
import { useNow } from "../view/use.ts";
import { Mark } from "./mark.tsx";
import { brief, isAtWork, tookOf } from "./steps.ts";
import { errorText, Value } from "./value.tsx";

interface ToolsProps {
  readonly calls: readonly ToolCall[];
  readonly omitted: number;
  /** Shows the events of a call in the log. */
  readonly find: (call: string) => void;
}

export function Tools({ calls, omitted, find }: ToolsProps) {
  const now = useNow(calls.some((call) => isAtWork(call.status)));
  return (
    <>
      {omitted > 0 && <p class="omitted">{omitted} older calls are only in the log</p>}
      <ul class="calls">
        {calls.map((call) => (
          <Call key={`${call.variation} ${call.call}`} call={call} now={now} find={find} />
        ))}
      </ul>
    </>
  );
}

function Call({ call, now, find }: { call: ToolCall; now: number; find: ToolsProps["find"] }) {
  const [isOpen, setOpen] = useState(false);
  const args = call.args ?? call.args_text;
  const cut = (call.omitted_bytes ?? 0) + (call.omitted_args_bytes ?? 0);
  return (
    <li class={`call is-${call.status}`} data-call={call.call}>
      <button
        type="button"
        class="call-button"
        aria-expanded={isOpen}
        onClick={() => setOpen(!isOpen)}
      >
        <Mark status={call.status} />
        <bdi class="call-tool">{brief(call.tool ?? call.call)}</bdi>
        {args !== undefined && <bdi class="call-args">{brief(oneLineOf(args))}</bdi>}
        <span class="call-took">{tookOf(call, now)}</span>
      </button>
      {call.error !== undefined && !isOpen && (
        <bdi class="call-error">{brief(errorText(call.error))}</bdi>
      )}
      {isOpen && (
        <div class="call-open">
          <Value name="Arguments" value={args} />
          <Value name="Result" value={call.result} />
          <Value name="Error" value={call.error} />
          <p class="muted">
            {call.step !== undefined && (
              <>
                step <bdi>{brief(call.step)}</bdi> ·{" "}
              </>
            )}
            {call.agent !== undefined && (
              <>
                agent <bdi>{brief(call.agent)}</bdi> ·{" "}
              </>
            )}
            {cut > 0 && `${cut} bytes are only in the log · `}
            <button type="button" class="link" onClick={() => find(call.call)}>
              find in log
            </button>
          </p>
        </div>
      )}
    </li>
  );
}

function oneLineOf(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}
