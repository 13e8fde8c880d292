/** The page of one run: what it is, how it stands, and its log. */

import type { Client, RunState } from "@runcast/core";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Inputs } from "../input/inputs.tsx";
import { LogView } from "../log/log-view.tsx";
import { MATCHES_MAX, type Search } from "../log/search.ts";
import { durationOf } from "../runs/runs-page.tsx";
import { outcome, StatusBadge, setTab, statusText, toneOf } from "../view/status.tsx";
import { count, moment } from "../view/time.ts";
import { Person, TopBar } from "../view/top-bar.tsx";
import { useChanges, useNow } from "../view/use.ts";
import { Connection } from "./connection.tsx";
import { Commands, Controls } from "./controls.tsx";
import { RunSession, type Subject } from "./session.ts";

/** A search begins when nobody has typed for so long. */
const TYPING_MS = 200;

export function RunPage({ client, id }: { client: Client; id: string }) {
  const session = useMemo(() => new RunSession(client, id), [client, id]);
  useChanges(session);
  useEffect(() => {
    session.start();
    return () => session.close();
  }, [session]);
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
          {!isGone && <Tools session={session} />}
        </div>
        {run && !isGone && <Inputs inputs={run.inputs} answer={session.answer} />}
        {isGone || session.pages.last === 0 ? <Absent subject={subject} /> : null}
        {!isGone && <LogView session={session} />}
      </main>
    </>
  );
}

interface HeadProps {
  readonly session: RunSession;
  readonly run: RunState | undefined;
  readonly isGone: boolean;
}

function Head({ session, run, isGone }: HeadProps) {
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
          <bdi class="mono">{id}</bdi> <CopyButton text={id} />
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

function Fact({ name, children }: { name: string; children: preact.ComponentChildren }) {
  return (
    <div class="fact">
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function CopyButton({ text }: { text: string }) {
  const [isCopied, setCopied] = useState(false);
  useEffect(() => {
    if (!isCopied) return;
    const timer = setTimeout(() => setCopied(false), 1_500);
    return () => clearTimeout(timer);
  }, [isCopied]);
  const copy = () => {
    void navigator.clipboard?.writeText(text).then(() => setCopied(true));
  };
  return (
    <button type="button" class="link" onClick={copy} aria-label="Copy the run's id">
      {isCopied ? "copied" : "copy"}
    </button>
  );
}

function Tools({ session }: { session: RunSession }) {
  const input = useRef<HTMLInputElement>(null);
  const [text, setText] = useState("");
  const { search } = session;
  useEffect(() => {
    const timer = setTimeout(() => session.filter(text), text === "" ? 0 : TYPING_MS);
    return () => clearTimeout(timer);
  }, [text, session]);
  useEffect(() => {
    // "Show in log" clears the search from outside.
    if (!search && input.current === document.activeElement) return;
    if (!search) setText("");
  }, [search]);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const isTyping = event.target instanceof HTMLInputElement;
      if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      input.current?.focus();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  return (
    <div class="tools">
      <input
        ref={input}
        class="field"
        type="search"
        placeholder="Find in this run"
        aria-label="Show only events that contain this text"
        aria-keyshortcuts="/"
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") setText("");
        }}
      />
      {search && (
        <div class="found-line">
          <span class="found" role="status">
            {foundText(search, session.pages.last)}
          </span>
          <button type="button" class="link" onClick={() => setText("")}>
            Clear
          </button>
        </div>
      )}
    </div>
  );
}

function foundText(search: Search, last: number): string {
  const found = `${count(search.found)} ${search.found === 1 ? "event" : "events"} found`;
  const share = last === 0 ? 100 : Math.min(100, Math.floor((search.scanned / last) * 100));
  switch (search.state) {
    case "live":
      return found;
    case "full":
      return `The first ${count(MATCHES_MAX)} events found; try a longer text`;
    case "refused":
      return "The server refused this search";
    case "waiting":
      return `${found} in ${share} %; the server does not answer`;
    case "paused":
      return `${found} in the first ${share} %; scroll down for more`;
    case "scanning":
      return `${found}, looked at ${share} %`;
  }
}

function Absent({ subject }: { subject: Subject }) {
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
