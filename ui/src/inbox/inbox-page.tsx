/** The page of all that waits for a person, with a form for each question. */

import type { Question } from "@runcast/core";
import { useEffect } from "preact/hooks";
import { InputCard } from "../input/input-card.tsx";
import { LogAway } from "../view/log-away.tsx";
import { pathOfRun } from "../view/route.ts";
import { setTab } from "../view/status.tsx";
import { count } from "../view/time.ts";
import { Person, TopBar } from "../view/top-bar.tsx";
import { useChanges, useNow } from "../view/use.ts";
import { brief } from "../work/steps.ts";
import { type Inbox, keyOf } from "./inbox.ts";

export function InboxPage({ inbox }: { inbox: Inbox }) {
  useChanges(inbox);
  useEffect(() => inbox.show(), [inbox]);
  const { questions, trouble } = inbox;
  useEffect(() => {
    setTab(inbox.count > 0 ? `(${inbox.count}) Inbox – Runcast` : "Inbox – Runcast", "idle");
  }, [inbox.count]);
  const now = useNow(questions?.some((question) => question.status === "open") ?? false);
  return (
    <>
      <TopBar>
        <Person />
      </TopBar>
      <main class="inbox">
        <h1 class="inbox-title">
          Inbox
          {questions && inbox.count > 0 && (
            <span class="muted">
              {" "}
              {count(inbox.count)} open {inbox.count === 1 ? "question" : "questions"}
            </span>
          )}
        </h1>
        {inbox.isLogAway && <LogAway />}
        {trouble !== undefined && !inbox.isLogAway && (
          <div class="banner tone-bad" role="alert">
            <span>{trouble.replace(/\.?$/, ".")} This is what was there before.</span>
            <button type="button" class="button" onClick={inbox.retry}>
              Try now
            </button>
          </div>
        )}
        {questions?.map((question) => (
          <InputCard
            key={keyOf(question)}
            input={question}
            now={now}
            send={(answer) => inbox.answer(question.run, question.input, answer)}
            from={<From question={question} />}
          />
        ))}
        {inbox.hasMore && <p class="muted">More questions come when these are answered.</p>}
        {questions?.length === 0 && (
          <div class="empty">
            <h2>Nothing waits for you</h2>
            <p>When a run asks something, the question is here, and its number at the top.</p>
          </div>
        )}
      </main>
    </>
  );
}

function From({ question }: { question: Question }) {
  const { run, run_name, workflow, step } = question;
  return (
    <>
      <a href={pathOfRun(run)}>
        <bdi>{brief(run_name ?? workflow ?? run)}</bdi>
      </a>
      {run_name !== null && workflow !== null && <bdi>{brief(workflow)}</bdi>}
      {step !== undefined && (
        <span>
          step <bdi>{brief(step)}</bdi>
        </span>
      )}
      {(run_name ?? workflow) !== null && <bdi class="mono">{run}</bdi>}
    </>
  );
}
