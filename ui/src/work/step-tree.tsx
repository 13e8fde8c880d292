/** The steps of a run as a tree with a time line. A click filters the log, and tells more of the step. */

import type { RunState, Step } from "@runcast/core";
import { Component } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { CopyButton } from "../view/copy.tsx";
import { duration } from "../view/time.ts";
import { useNow } from "../view/use.ts";
import { Mark, toneOfWork } from "./mark.tsx";
import { brief, extentOf, isAtWork, keyOf, rowsOf, type StepRow, tookOf } from "./steps.ts";
import { errorText, Value } from "./value.tsx";

export interface ChosenStep {
  readonly step: string;
  readonly variation: string | undefined;
}

interface StepTreeProps {
  readonly run: RunState;
  readonly chosen: ChosenStep | undefined;
  readonly choose: (step: ChosenStep | undefined) => void;
}

export function StepTree({ run, chosen, choose }: StepTreeProps) {
  const now = useNow(run.steps.some((step) => isAtWork(step.status)) && !run.is_terminal);
  const [folded, setFolded] = useState<ReadonlySet<string>>(new Set());
  const extent = useMemo(() => extentOf(run, now), [run, now]);
  const rows = useMemo(() => rowsOf(run.steps, folded, extent, now), [run, folded, extent, now]);
  const chosenKey = chosen && keyOf(chosen.step, chosen.variation);
  const list = useRef<HTMLUListElement>(null);
  // What is chosen may be anywhere in the tree: the address has led there.
  useEffect(() => {
    list.current?.querySelector(".step.is-chosen")?.scrollIntoView({ block: "nearest" });
  }, [chosenKey]);
  const act = useRef({ choose, chosenKey });
  act.current = { choose, chosenKey };
  const onChoose = useRef((row: StepRow) => {
    const isChosen = row.key === act.current.chosenKey;
    act.current.choose(isChosen ? undefined : { step: row.step, variation: row.variation });
  });
  const onFold = useRef((row: StepRow) => {
    setFolded((now) => {
      const next = new Set(now);
      if (!next.delete(row.key)) next.add(row.key);
      return next;
    });
  });
  const left = run.omitted.steps ?? 0;
  return (
    <>
      <div class="steps-head" aria-hidden="true">
        <span>{duration(0)}</span>
        <span>{duration(extent.to - extent.from)}</span>
      </div>
      <ul class="steps" ref={list}>
        {rows.flatMap((row) => {
          const isChosen = row.key === chosenKey;
          const item = (
            <StepItem
              key={row.key}
              row={row}
              isChosen={isChosen}
              onChoose={onChoose.current}
              onFold={onFold.current}
            />
          );
          // All are on one level, or the row would be another when it is chosen, without its focus.
          if (!isChosen) return [item];
          const step = run.steps.find((it) => keyOf(it.step, it.variation) === row.key);
          return [item, step && <Details key={`more ${row.key}`} step={step} now={now} />];
        })}
      </ul>
      {left > 0 && <p class="omitted">{left} older steps are only in the log</p>}
    </>
  );
}

interface StepItemProps {
  readonly row: StepRow;
  readonly isChosen: boolean;
  readonly onChoose: (row: StepRow) => void;
  readonly onFold: (row: StepRow) => void;
}

/** A row; drawn again only if it shows something else. */
class StepItem extends Component<StepItemProps> {
  override shouldComponentUpdate(next: StepItemProps): boolean {
    const isSame = JSON.stringify(next.row) === JSON.stringify(this.props.row);
    return next.isChosen !== this.props.isChosen || !isSame;
  }

  override render({ row, isChosen, onChoose, onFold }: StepItemProps) {
    const classes = ["step", `is-${row.status}`];
    if (isChosen) classes.push("is-chosen");
    return (
      <li class={classes.join(" ")} data-step={row.step}>
        <span class="step-subject" style={{ paddingLeft: `${row.depth * 16}px` }}>
          {row.children > 0 ? (
            <button
              type="button"
              class="fold"
              aria-expanded={!row.isFolded}
              aria-label={`Steps of ${row.name}`}
              onClick={() => onFold(row)}
            >
              {row.isFolded ? "▸" : "▾"}
            </button>
          ) : (
            <span class="fold" />
          )}
          <button
            type="button"
            class="step-button"
            aria-pressed={isChosen}
            title={row.name}
            onClick={() => onChoose(row)}
          >
            <Mark status={row.status} />
            <bdi class="step-name">{row.name}</bdi>
            {row.variation !== undefined && <bdi class="tag">{brief(row.variation)}</bdi>}
            {row.attempt > 1 && <span class="step-attempt">attempt {row.attempt}</span>}
            {row.fraction !== undefined && (
              <span class="step-percent">{Math.floor(row.fraction * 100)} %</span>
            )}
          </button>
        </span>
        <span class="step-line" aria-hidden="true">
          {row.bars.map((bar, at) => (
            <span
              key={`bar ${at}`}
              class={`bar tone-${toneOfWork(bar.status)}`}
              style={{ left: `${bar.from * 100}%`, width: `${(bar.to - bar.from) * 100}%` }}
            />
          ))}
        </span>
        <span class="step-took">{row.took}</span>
        {row.note !== "" && (
          <bdi class="step-note" style={{ paddingLeft: `${row.depth * 16 + 42}px` }}>
            {row.note}
          </bdi>
        )}
      </li>
    );
  }
}

/** All that the state has of a step. */
function Details({ step, now }: { step: Step; now: number }) {
  const attempts = [...(step.earlier_attempts ?? []), step];
  const facts = [
    ["Step", step.step],
    ["Stage", step.stage === undefined ? undefined : String(step.stage)],
    ["Agent", step.agent],
    ["Part of", step.parent],
  ] as const;
  return (
    <li class="step-details">
      <dl class="facts">
        {facts.map(
          ([name, value]) =>
            value !== undefined && (
              <div class="fact" key={name}>
                <dt>{name}</dt>
                <dd>
                  <bdi>{brief(value)}</bdi>
                </dd>
              </div>
            ),
        )}
        <div class="fact">
          <CopyButton text={location.href} label="Copy the link to this step">
            copy link
          </CopyButton>
        </div>
      </dl>
      {attempts.length > 1 && (
        <ol class="attempts">
          {attempts.map((attempt) => (
            <li key={attempt.attempt}>
              <Mark status={attempt.status} /> attempt {attempt.attempt}{" "}
              <span class="muted">{tookOf(attempt, now)}</span>{" "}
              {attempt.error !== undefined && <bdi>{brief(errorText(attempt.error))}</bdi>}
            </li>
          ))}
        </ol>
      )}
      <Value name="Error" value={step.error} />
      <Value name="Input" value={step.input} />
      <Value name="Output" value={step.output} />
    </li>
  );
}
