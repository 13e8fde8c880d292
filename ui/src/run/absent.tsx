/** What stands in the place of a log that is not there. */

import type { Subject } from "./session.ts";

export function Absent({ subject }: { subject: Subject }) {
  switch (subject.kind) {
    case "awaited":
      return (
        <div class="empty is-over">
          <h2>Waiting for the first event</h2>
          <p>Nothing was published under this id yet. The page begins when the run does.</p>
        </div>
      );
    case "deleted":
      return (
        <div class="empty">
          <h2>This run was deleted</h2>
          <p>Its events are gone.</p>
          <a class="button" href="/">
            All runs
          </a>
        </div>
      );
    case "refused":
      return (
        <div class="empty">
          <h2>The server refused</h2>
          <p>{subject.message}</p>
          <a class="button" href="/">
            All runs
          </a>
        </div>
      );
    default:
      return null;
  }
}
