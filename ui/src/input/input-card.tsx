/** One question of a run: what it asks, the form to answer with, the time that is left, the answer. */

import { type Input, ProblemError } from "@runcast/core";
import { useMemo, useState } from "preact/hooks";
import { duration, moment, stopwatch } from "../view/time.ts";
import { AnswerForm } from "./answer-form.tsx";
import { type Faults, formOf, placed } from "./form.ts";
import { Markdown } from "./markdown.tsx";

/** Sends an answer; what comes back is the input as it is then. */
export type SendAnswer = (answer: unknown) => Promise<Input>;

/** What became of the answer that was sent from here. */
type Sent =
  | { readonly kind: "nothing" }
  | { readonly kind: "sending" }
  | { readonly kind: "failed"; readonly message: string; readonly faults: Faults }
  | { readonly kind: "taken"; readonly input: Input }
  /** Somebody or something else was first. */
  | { readonly kind: "late"; readonly message: string };

interface InputCardProps {
  readonly input: Input;
  readonly now: number;
  readonly send: SendAnswer;
  /** The run that asks, where that is not plain. */
  readonly from?: preact.ComponentChildren;
}

export function InputCard({ input: known, now, send, from }: InputCardProps) {
  const [sent, setSent] = useState<Sent>({ kind: "nothing" });
  const input = known.status === "open" && sent.kind === "taken" ? sent.input : known;
  const form = useMemo(() => formOf(known), [known.input]);
  const submit = async (answer: unknown) => {
    setSent({ kind: "sending" });
    try {
      setSent({ kind: "taken", input: await send(answer) });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      const isProblem = error instanceof ProblemError;
      const isLate = isProblem && (error.status === 409 || error.status === 404);
      const faults = isProblem ? placed(form, error.members.violations) : {};
      setSent(isLate ? { kind: "late", message } : { kind: "failed", message, faults });
    }
  };
  const isOpen = input.status === "open" && sent.kind !== "late";
  return (
    <article
      class={isOpen ? "input is-open" : "input"}
      data-input={input.input}
      aria-label="Question"
    >
      {from && <div class="input-from">{from}</div>}
      {input.prompt && <Markdown text={input.prompt} />}
      {isOpen && (
        <>
          <AnswerForm
            form={form}
            fallback={input.default}
            isSending={sent.kind === "sending"}
            faults={sent.kind === "failed" ? sent.faults : {}}
            submit={(answer) => void submit(answer)}
          />
          {sent.kind === "failed" && Object.keys(sent.faults).length === 0 && (
            <p class="input-said tone-bad" role="alert">
              {sent.message}
            </p>
          )}
          <Countdown input={input} now={now} />
        </>
      )}
      {sent.kind === "late" && (
        <p class="input-said tone-warn" role="alert">
          Your answer came second: {sent.message}
        </p>
      )}
      {input.status !== "open" && <Outcome input={input} now={now} />}
    </article>
  );
}

function Countdown({ input, now }: { input: Input; now: number }) {
  const asked = `asked ${moment(input.requested_at, now)}`;
  if (!input.expires_at) return <p class="input-time">{asked}, and waits for an answer</p>;
  const left = Date.parse(input.expires_at) - now;
  const then =
    input.default === undefined
      ? "then there will be no answer"
      : `then ${shown(input.default)} is taken`;
  return (
    <p class="input-time">
      {asked} ·{" "}
      {left > 0 ? (
        <>
          <span class="input-left" role="timer">
            {stopwatch(left)}
          </span>{" "}
          left, {then}
        </>
      ) : (
        "time is up"
      )}
    </p>
  );
}

function Outcome({ input, now }: { input: Input; now: number }) {
  const at = input.ended_at ? ` ${moment(input.ended_at, now)}` : "";
  const waited = input.ended_at
    ? `, after ${duration(Date.parse(input.ended_at) - Date.parse(input.requested_at))}`
    : "";
  return (
    <p class="input-outcome">
      {input.answer !== undefined && <bdi class="input-answer">{shown(input.answer)}</bdi>}
      <span>
        {said(input)}
        {input.status === "answered" && input.answered_by && (
          <>
            {" by "}
            <bdi>{input.answered_by}</bdi>
          </>
        )}
        {at}
        {waited}
      </span>
    </p>
  );
}

function said(input: Input): string {
  switch (input.status) {
    case "answered":
      return "answered";
    case "timed_out":
      return input.answer === undefined
        ? "nobody answered in time"
        : "taken: nobody answered in time";
    default:
      return "over: the run ended";
  }
}

function shown(value: unknown): string {
  return typeof value === "string" ? `“${value}”` : JSON.stringify(value);
}
