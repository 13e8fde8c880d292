/** The page of one run: what it is, how it stands, what it asks, what it does, and its log. */

import type { Client, RunState, Stage } from "@runcast/core";
import { useEffect, useMemo, useState } from "preact/hooks";
import { Inputs } from "../input/inputs.tsx";
import { filterOf, type LogFilter, queryOf } from "../log/filter.ts";
import { LogView } from "../log/log-view.tsx";
import { amend, useQuery } from "../view/route.ts";
import { setTab, statusText, toneOf } from "../view/status.tsx";
import { Person, TopBar } from "../view/top-bar.tsx";
import { useChanges, useMedia } from "../view/use.ts";
import { namesOf, Stages } from "../work/stages.tsx";
import type { ChosenStep } from "../work/step-tree.tsx";
import { type Tab, Tabs, tabsOf, Work } from "../work/work.tsx";
import { Absent } from "./absent.tsx";
import { Connection } from "./connection.tsx";
import { FilterBar } from "./filter-bar.tsx";
import { Find } from "./find.tsx";
import { Head } from "./head.tsx";
import { RunSession } from "./session.ts";

/** From here on the work and the log stand side by side. */
const WIDE = "(min-width: 1000px)";

export function RunPage({ client, id }: { client: Client; id: string }) {
  const session = useMemo(() => new RunSession(client, id), [client, id]);
  useChanges(session);
  useEffect(() => {
    session.start();
    return () => session.close();
  }, [session]);
  const query = useQuery();
  const filter = useMemo(() => filterOf(query), [query]);
  useEffect(() => session.filter(filter), [session, filter]);
  const { subject, connection } = session;
  const run = subject.kind === "run" || subject.kind === "deleted" ? subject.run : undefined;
  useEffect(() => {
    const title = run?.name ?? run?.workflow ?? id;
    const status = run ? `${statusText(run.status)} · ` : "";
    setTab(`${status}${title} – Runcast`, run ? toneOf(run.status) : "idle");
  }, [run, id]);
  const isGone = subject.kind === "deleted" || subject.kind === "refused";
  return (
    <>
      <TopBar>
        <Person />
        <Connection state={connection} onRetry={session.reconnectNow} />
      </TopBar>
      <main class="run">
        <div class="run-top">
          <Head session={session} run={run} isGone={isGone} />
          {!isGone && (
            <Find session={session} text={filter.text} find={(text) => change({ text })} />
          )}
        </div>
        {run && !isGone && <Inputs inputs={run.inputs} answer={session.answer} />}
        {isGone || session.pages.last === 0 ? <Absent subject={subject} /> : null}
        {!isGone && <Body session={session} run={run} filter={filter} />}
      </main>
    </>
  );
}

/** Filters the log by something else too, or by something no more. */
function change(part: Partial<LogFilter>): void {
  amend(location.pathname + queryOf({ ...filterOf(location.search), ...part }));
}

const chooseStep = (step: ChosenStep | undefined): void =>
  change({ step: step?.step, variation: step?.variation });

const chooseStage = (stage: Stage | undefined): void =>
  change({ stage: stage ? namesOf(stage) : [], variation: stage?.variation });

interface BodyProps {
  readonly session: RunSession;
  readonly run: RunState | undefined;
  readonly filter: LogFilter;
}

/** The work beside the log, or on a narrow screen one of both. */
function Body({ session, run, filter }: BodyProps) {
  const isWide = useMedia(WIDE);
  const [wanted, setWanted] = useState<Tab>();
  const inWork = useMemo(() => tabsOf(run), [run]);
  const tabs = isWide ? inWork : [{ tab: "log", name: "Log" } as const, ...inWork];
  const tab = tabs.find((it) => it.tab === wanted)?.tab ?? tabs[0]?.tab ?? "log";
  // What is filtered by a click is looked at; on a narrow screen that is the log.
  const stages = useMemo(
    () =>
      run && (
        <Stages
          run={run}
          chosen={filter.stage}
          variation={filter.variation}
          choose={(stage) => {
            chooseStage(stage);
            if (!isWide) setWanted("log");
          }}
        />
      ),
    [run, filter, isWide],
  );
  const work = useMemo(() => {
    if (!run || tab === "log") return null;
    const { step, variation } = filter;
    const find = (text: string) => {
      change({ text });
      if (!isWide) setWanted("log");
    };
    const chosen = step === undefined ? undefined : { step, variation };
    return <Work run={run} tab={tab} chosen={chosen} choose={chooseStep} find={find} />;
  }, [run, tab, filter, isWide]);
  const isLogHidden = !isWide && tab !== "log";
  return (
    <>
      {stages}
      <div class={isWide && work ? "run-body is-wide" : "run-body"}>
        {inWork.length > 0 && (
          <div class={work ? "run-work" : "run-work is-folded"}>
            <Tabs tabs={tabs} tab={tab} show={setWanted} />
            {work}
          </div>
        )}
        <div class={isLogHidden ? "run-log is-hidden" : "run-log"} id="log">
          <FilterBar filter={filter} change={change} />
          <LogView session={session} />
        </div>
      </div>
    </>
  );
}
