/** How a part of the work stands, as a sign and a word. */

import type { WorkStatus } from "@runcast/core";

const SIGNS: Readonly<Record<WorkStatus, string>> = {
  pending: "○",
  running: "●",
  retrying: "↻",
  completed: "✓",
  failed: "✕",
  skipped: "–",
  interrupted: "■",
};

const TONES: Readonly<Record<WorkStatus, string>> = {
  pending: "idle",
  running: "active",
  retrying: "warn",
  completed: "good",
  failed: "bad",
  skipped: "idle",
  interrupted: "warn",
};

export function toneOfWork(status: WorkStatus): string {
  return TONES[status] ?? "idle";
}

export function Mark({ status }: { status: WorkStatus }) {
  return (
    <span class={`mark tone-${toneOfWork(status)} is-${status}`} title={status}>
      <span aria-hidden="true">{SIGNS[status] ?? "?"}</span>
      <span class="unseen">{status}</span>
    </span>
  );
}
