/** That the server is there and cannot reach its log: how a page knows it, and how it says it. */

import { type FollowState, ProblemError } from "@runcast/core";

/** What a person is told, beside a dot or in a banner. */
export const LOG_AWAY = "the server waits for its log; nothing is lost";

/** Whether a follower waits for no other reason: it was told so, or was refused with it. */
export function isLogAway(state: FollowState): boolean {
  if (state.phase === "away") return true;
  if (state.phase !== "reconnecting") return false;
  return state.error instanceof ProblemError && state.error.code === "log_unavailable";
}

export function LogAway() {
  return (
    <div class="banner tone-warn" role="status">
      <span>{LOG_AWAY}, and the page goes on by itself.</span>
    </div>
  );
}
