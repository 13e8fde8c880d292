/** The head of a run's page: what the run is, how it stands, and what it can be asked. */

import type { RunState } from "@runcast/core";
import { durationOf } from "../runs/runs-page.tsx";
import { CopyButton } from "../view/copy.tsx";
import { pathOfRun } from "../view/route.ts";
import { outcome, StatusBadge, toneOf } from "../view/status.tsx";
import { count, moment, stopwatch } from "../view/time.ts";
import { useNow } from "../view/use.ts";
import { Commands, Controls } from "./controls.tsx";
import type { RunSession } from "./session.ts";

interface HeadProps {
  readonly session: RunSession;
  readonly run: RunState | undefined;
  readonly isGone: boolean;
}

export function Head({ session, run, isGone }: HeadProps) {
  const { id } = session;
  const { last } = session.pages;
  const now = useNow(run !== undefined && !run.is_terminal);
  const why = run ? outcome(run) : "";
  return (
    <div class="head">
      <div class="head-line">
        <h1>
          <bdi>{run?.name ?? run?.workflow ?? id}</bdi>
        </h1>
        {run && <StatusBadge status={run.status} />}
        {run && run.started_at !== null && (
          <span class="head-clock" title="Duration">
            {durationOf(run, now)}
          </span>
        )}
        {why && <bdi class={`head-why tone-${run ? toneOf(run.status) : "idle"}`}>{why}</bdi>}
        {run && !isGone && <Controls run={run} ask={session.ask} />}
      </div>
      <dl class="facts">
        <Fact name="Run">
          <bdi class="mono">{id}</bdi>{" "}
          <CopyButton text={id} label="Copy the run's id">
            copy
          </CopyButton>
          <CopyButton text={location.origin + pathOfRun(id)} label="Copy the link to this run">
            link
          </CopyButton>
        </Fact>
        {run?.name && run.workflow && (
          <Fact name="Workflow">
            <bdi>{run.workflow}</bdi>
          </Fact>
        )}
        {run && (
          <Fact name={run.started_at === null ? "Created" : "Started"}>
            {moment(run.started_at ?? run.created_at, now)}
          </Fact>
        )}
        {last > 0 && <Fact name="Events">{count(last)}</Fact>}
        {run && run.events.damaged > 0 && (
          <Fact name="Damaged">
            <span class="tone-warn">{count(run.events.damaged)} events cannot be read</span>
          </Fact>
        )}
        {run?.progress && !run.is_terminal && (
          <Fact name="Progress">
            <Progress progress={run.progress} now={now} />
          </Fact>
        )}
        {run && run.tags.length > 0 && (
          <Fact name="Tags">
            {run.tags.map((tag) => (
              <bdi key={tag} class="tag">
                {tag}
              </bdi>
            ))}
          </Fact>
        )}
      </dl>
      {run && <Commands commands={run.commands} now={now} />}
    </div>
  );
}

function Progress({ progress, now }: { progress: NonNullable<RunState["progress"]>; now: number }) {
  const percent = Math.floor(progress.fraction * 100);
  const left = progress.eta_at === undefined ? 0 : Date.parse(progress.eta_at) - now;
  return (
    <span class="progress">
      <progress max={100} value={percent} aria-label="Progress of the run" />
      {percent} %{left > 0 && `, about ${stopwatch(left)} left`}
    </span>
  );
}

function Fact({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return (
    <div class="fact">
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
