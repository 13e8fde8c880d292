/** The list of runs, live. */

import type { Client, Run } from "@runcast/core";
import { useEffect, useMemo } from "preact/hooks";
import { LogAway } from "../view/log-away.tsx";
import { amend, pathOfRun, useQuery } from "../view/route.ts";
import type { RunFeed } from "../view/run-feed.ts";
import { outcome, StatusBadge, setTab, toneOf } from "../view/status.tsx";
import { count, duration, moment, stopwatch } from "../view/time.ts";
import { TopBar } from "../view/top-bar.tsx";
import { useChanges, useNow } from "../view/use.ts";
import { filterOf, type ListFilter, NO_FILTER, queryOf } from "./filter.ts";
import { MoreFilters, StatusFilter, TextFilter } from "./filters.tsx";
import { RunList } from "./run-list.ts";

/** The tags of a run that have room in the table. */
const TAGS_SHOWN = 3;
const COMMAND = "runcast exec -- python agent.py";

export function RunsPage({ client, feed }: { client: Client; feed: RunFeed }) {
  const query = useQuery();
  const filter = useMemo(() => filterOf(query), [query]);
  const list = useMemo(() => new RunList(client, feed), [client, feed]);
  useChanges(list);
  useEffect(() => list.filter(filter), [list, filter]);
  useEffect(() => {
    list.start();
    return () => list.close();
  }, [list]);
  useEffect(() => setTab("Runs – Runcast", "idle"), []);
  const { runs, state, isLogAway } = list;
  const isAway = state.kind === "away" && !isLogAway;
  const now = useNow(runs.some((run) => !run.is_terminal));
  const change = (next: ListFilter) => amend(location.pathname + queryOf(next));
  return (
    <>
      <TopBar>
        <TextFilter filter={filter} change={change} />
      </TopBar>
      <main class="runs">
        <div class="filters">
          <StatusFilter filter={filter} change={change} counts={list.counts} />
          <MoreFilters filter={filter} change={change} />
        </div>
        {isLogAway && <LogAway />}
        {isAway && (
          <div class="banner tone-bad" role="alert">
            <span>
              {state.message.replace(/\.?$/, ".")} Trying again each second
              {runs.length > 0 && "; this is what was there before"}.
            </span>
            <button type="button" class="button" onClick={() => list.retry()}>
              Try now
            </button>
          </div>
        )}
        {state.kind === "refused" && (
          <div class="banner tone-bad" role="alert">
            <span>The server does not take this filter: {state.message}</span>
            <button type="button" class="button" onClick={() => change(NO_FILTER)}>
              All runs
            </button>
          </div>
        )}
        {runs.length > 0 && <RunTable runs={runs} now={now} isStale={isAway} />}
        {runs.length === 0 && state.kind === "ready" && <Empty isFiltered={query !== ""} />}
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
        {run.open_inputs > 0 && <span class="run-asks">asks</span>}
        {reason && <bdi class={`run-reason tone-${toneOf(run.status)}`}>{reason}</bdi>}
        {title !== run.id && <bdi class="run-id">{run.id}</bdi>}
      </td>
      <td class="cell-tags">
        {run.tags.slice(0, TAGS_SHOWN).map((tag) => (
          <a key={tag} class="tag" href={queryOf({ ...NO_FILTER, tag: [tag] })}>
            <bdi>{tag}</bdi>
          </a>
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

function Empty({ isFiltered }: { isFiltered: boolean }) {
  if (isFiltered) {
    return (
      <div class="empty">
        <h1>No run matches</h1>
        <p>Try another filter.</p>
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
