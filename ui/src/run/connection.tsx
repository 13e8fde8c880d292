/** How the page stands with the server, as a coloured dot and a word. */

import type { FollowState } from "@runcast/core";
import { isLogAway, LOG_AWAY } from "../view/log-away.tsx";
import { count } from "../view/time.ts";

interface Shown {
  readonly tone: "good" | "active" | "warn" | "bad" | "idle";
  readonly text: string;
  readonly detail?: string;
}

const WAITING: Shown = {
  tone: "warn",
  text: LOG_AWAY,
  detail: "Nothing new can come until then, and the page goes on by itself",
};

export function Connection({ state, onRetry }: { state: FollowState; onRetry: () => void }) {
  const { tone, text, detail } = shown(state);
  return (
    <span class={`connection tone-${tone}`} data-phase={state.phase} title={detail}>
      <span class="dot" aria-hidden="true" />
      <span role="status">{text}</span>
      {state.phase === "reconnecting" && (
        <button type="button" class="link" onClick={onRetry}>
          now
        </button>
      )}
    </span>
  );
}

function shown(state: FollowState): Shown {
  switch (state.phase) {
    case "connecting":
      return { tone: "warn", text: "connecting" };
    case "catching_up": {
      const left = state.target === undefined ? 0 : state.target - state.offset;
      const detail = left > 0 ? `${count(left)} events to go` : "";
      return { tone: "active", text: "catching up", detail };
    }
    case "live":
      return { tone: "good", text: "live" };
    case "away":
      return WAITING;
    case "reconnecting":
      if (isLogAway(state)) return WAITING;
      return { tone: "warn", text: "reconnecting", detail: state.error.message };
    case "ended":
      switch (state.because.reason) {
        case "end":
          return { tone: "idle", text: "ended" };
        case "deleted":
          return { tone: "bad", text: "deleted" };
        case "failed":
          return { tone: "bad", text: "refused", detail: state.because.error.message };
        case "closed":
          return { tone: "idle", text: "closed" };
      }
  }
}
