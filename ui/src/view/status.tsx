/** A run's status, as a word and a colour, and as the tab's icon. */

import type { Run, RunStatus } from "@runcast/core";
import failed from "../icons/failed.svg";
import idle from "../icons/idle.svg";
import ok from "../icons/ok.svg";
import running from "../icons/running.svg";

export type StatusTone = "active" | "good" | "bad" | "warn" | "idle";

const TONES: Readonly<Record<RunStatus, StatusTone>> = {
  queued: "idle",
  starting: "active",
  running: "active",
  paused: "warn",
  input_required: "warn",
  cancelling: "warn",
  completed: "good",
  failed: "bad",
  cancelled: "idle",
  timed_out: "bad",
  crashed: "bad",
  expired: "idle",
};

export function toneOf(status: RunStatus): StatusTone {
  return TONES[status] ?? "idle";
}

export function statusText(status: RunStatus): string {
  return status.replaceAll("_", " ");
}

export function StatusBadge({ status }: { status: RunStatus }) {
  return (
    <span class={`badge tone-${toneOf(status)}`}>
      <span class="badge-mark" aria-hidden="true" />
      {statusText(status)}
    </span>
  );
}

/** Why a run ended as it did, beside its status. */
export function outcome(run: Run): string {
  const parts: string[] = [];
  if (run.exit_code !== null && run.exit_code !== undefined)
    parts.push(`exit code ${run.exit_code}`);
  if (run.signal) parts.push(run.signal);
  if (run.status_reason) parts.push(run.status_reason);
  const error = typeof run.error === "object" && run.error ? run.error : undefined;
  const message = error ? (error as { message?: unknown }).message : run.error;
  if (typeof message === "string" && message !== run.status_reason) parts.push(message);
  return parts.join(" · ");
}

const ICONS: Readonly<Record<StatusTone, string>> = {
  active: running,
  good: ok,
  bad: failed,
  warn: running,
  idle,
};

/** Shows the status where the browser lists its tabs. */
export function setTab(title: string, tone: StatusTone): void {
  if (document.title !== title) document.title = title;
  const link = document.querySelector<HTMLLinkElement>("link[rel=icon]");
  const icon = ICONS[tone];
  if (link && link.getAttribute("href") !== icon) link.setAttribute("href", icon);
}
