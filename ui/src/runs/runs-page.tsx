/** The list of runs, live. */

import type { Client, Run, RunStatus } from "@runcast/core";
import { useEffect, useMemo, useState } from "preact/hooks";
import { pathOfRun } from "../view/route.ts";
import { outcome, StatusBadge, setTab, toneOf } from "../view/status.tsx";
import { count, duration, moment, stopwatch } from "../view/time.ts";
import { TopBar } from "../view/top-bar.tsx";
import { useChanges, useNow } from "../view/use.ts";
import { hasText, RunList } from "./run-list.ts";

const FILTERS: readonly { name: string; statuses: readonly RunStatus[] }[] = [
  { name: "All", statuses: [] },
  { name: "Active", statuses: ["queued", "running", "paused", "input_required", "cancelling"] },
  { name: "Completed", statuses: ["completed"] },
  { name: "Failed", statuses: ["failed", "timed_out", "crashed"] },
  { name: "Cancelled", statuses: ["cancelled"] },
];

/** The tags of a run that have room in the table. */
const TAGS_SHOWN = 3;
const COMMAND = "runcast exec -- python agent.py";

export function RunsPage({ client }: { client: Client }) {
  const list = useMemo(() => new RunList(client), [client]);
  useChanges(list);
  const [filter, setFilter] = useState(0);
  const [text, setText] = useState("");
  useEffect(() => {
    list.start();
    return () => list.close();
  }, [list]);
  useEffect(() => setTab("Runs – Runcast", "idle"), []);
  const runs = text === "" ? list.runs : list.runs.filter((run) => hasText(run, text));
  const now = useNow(runs.some((run) => !run.is_terminal));
  const choose = (at: number) => {
    setFilter(at);
    list.filter(FILTERS[at]?.statuses ?? []);
  };
  const isFiltered = filter !== 0 || text !== "";
  return (
    <>
      <TopBar>
        <div class="top-tools">
          <fieldset class="segments">
            <legend class="unseen">Status</legend>
            {FILTERS.map(({ name }, at) => (
              <button
                key={name}
                type="button"
                aria-pressed={filter === at}
                onClick={() => choose(at)}
              >
                {name}
              </button>
            ))}
          </fieldset>
          <input
            class="field"
            type="search"
            placeholder="Name, workflow, id or tag"
            aria-label="Filter runs by name, workflow, id or tag"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </div>
      </TopBar>
      <main class="runs">
        {list.state.kind === "away" && (
          <div class="banner tone-bad" role="alert">
            <span>
              {list.state.message.replace(/\.?$/, ".")} Trying again each second
              {list.runs.length > 0 && "; this is what was there before"}.
            </span>
            <button type="button" class="button" onClick={() => list.retry()}>
              Try now
            </button>
          </div>
        )}
        {runs.length > 0 && <RunTable runs={runs} now={now} isStale={list.state.kind === "away"} />}
        {runs.length === 0 && list.state.kind === "ready" && (
          <Empty isFiltered={isFiltered} hasMore={list.hasMore && text !== ""} />
        )}
        {list.hasMore && (
          <div class="more">
            <button
              type="button"
              class="button"
              disabled={list.isLoadingMore}
              onClick={() => void list.more()}
            >
              {list.isLoadingMore ? "Loading…" : "Load older runs"}
            </button>
          </div>
        )}
      </main>
    </>
  );
}

function RunTable({ runs, now, isStale }: { runs: readonly Run[]; now: number; isStale: boolean }) {
  return (
    <table class={isStale ? "table is-stale" : "table"}>
      <caption class="unseen">Runs, newest first</caption>
      <thead>
        <tr>
          <th scope="col">Status</th>
          <th scope="col">Run</th>
          <th scope="col" class="cell-tags">
            Tags
          </th>
          <th scope="col" class="number">
            Created
          </th>
          <th scope="col" class="number">
            Duration
          </th>
          <th scope="col" class="number">
            Events
          </th>
        </tr>
      </thead>
      <tbody>
        {runs.map((run) => (
          <RunRow key={run.id} run={run} now={now} />
        ))}
      </tbody>
    </table>
  );
}

function RunRow({ run, now }: { run: Run; now: number }) {
  const title = run.name ?? run.workflow ?? run.id;
  const reason = run.is_terminal && run.status !== "completed" ? outcome(run) : "";
  return (
    <tr>
      <td class="cell-status">
        <StatusBadge status={run.status} />
      </td>
      <td class="cell-run">
        <a href={pathOfRun(run.id)} class="run-name">
          <bdi>{title}</bdi>
        </a>
        {run.name && run.workflow && <bdi class="run-workflow">{run.workflow}</bdi>}
        {reason && <bdi class={`run-reason tone-${toneOf(run.status)}`}>{reason}</bdi>}
        {title !== run.id && <bdi class="run-id">{run.id}</bdi>}
      </td>
      <td class="cell-tags">
        {run.tags.slice(0, TAGS_SHOWN).map((tag) => (
          <bdi key={tag} class="tag">
            {tag}
          </bdi>
        ))}
        {run.tags.length > TAGS_SHOWN && (
          <span class="tags-more" title={run.tags.slice(TAGS_SHOWN).join(", ")}>
            +{run.tags.length - TAGS_SHOWN}
          </span>
        )}
      </td>
      <td class="number cell-created">{moment(run.created_at, now)}</td>
      <td class="number cell-duration">{durationOf(run, now)}</td>
      <td class="number cell-events">
        {count(run.events.total)}
        <span class="only-narrow"> {run.events.total === 1 ? "event" : "events"}</span>
      </td>
    </tr>
  );
}

/** How long a run took, or takes so far. */
export function durationOf(run: Run, now: number): string {
  if (run.started_at === null) return "–";
  if (!run.is_terminal) return stopwatch(now - Date.parse(run.started_at));
  return run.duration_ms === null ? "–" : duration(run.duration_ms);
}

function Empty({ isFiltered, hasMore }: { isFiltered: boolean; hasMore: boolean }) {
  if (isFiltered) {
    return (
      <div class="empty">
        <h1>No run matches</h1>
        <p>{hasMore ? "Older runs were not looked at yet." : "Try another status or text."}</p>
      </div>
    );
  }
  return (
    <div class="empty">
      <h1>No runs yet</h1>
      <p>Put one command in front of any process, and watch it here, live:</p>
      <pre class="command">
        <code>{COMMAND}</code>
      </pre>
    </div>
  );
}
