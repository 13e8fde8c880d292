/** The stages of a run as a stepper: how far each is and how long it took. A click filters the log. */

import type { RunState, Stage } from "@runcast/core";
import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { useNow } from "../view/use.ts";
import { Mark } from "./mark.tsx";
import { brief, isAtWork, tookOf } from "./steps.ts";
import { errorText } from "./value.tsx";

interface StagesProps {
  readonly run: RunState;
  /** The stage that the log is filtered by. */
  readonly chosen: readonly string[];
  readonly variation: string | undefined;
  readonly choose: (stage: Stage | undefined) => void;
}

export function Stages({ run, chosen, variation, choose }: StagesProps) {
  const now = useNow(run.stages.some((stage) => isAtWork(stage.status)) && !run.is_terminal);
  const lanes = useMemo(() => lanesOf(run.stages), [run.stages]);
  if (run.stages.length === 0) return null;
  return (
    <section class="stages" aria-label="Stages">
      {lanes.map(([name, stages]) => (
        <div class="lane" key={name ?? ""}>
          {name !== undefined && <bdi class="lane-name">{brief(name)}</bdi>}
          <ol class="lane-stages">
            {stages.map((stage) => {
              const isSame = namesOf(stage).some((it) => chosen.includes(it));
              const isChosen = isSame && stage.variation === variation;
              return (
                <StageItem
                  key={`${stage.number} ${stage.name}`}
                  stage={stage}
                  now={now}
                  isCurrent={!run.is_terminal && isCurrent(stage, run)}
                  isChosen={isChosen}
                  choose={() => choose(isChosen ? undefined : stage)}
                />
              );
            })}
          </ol>
        </div>
      ))}
    </section>
  );
}

interface StageItemProps {
  readonly stage: Stage;
  readonly now: number;
  readonly isCurrent: boolean;
  readonly isChosen: boolean;
  readonly choose: () => void;
}

function StageItem({ stage, now, isCurrent, isChosen, choose }: StageItemProps) {
  const item = useRef<HTMLLIElement>(null);
  useEffect(() => {
    if (isCurrent || isChosen)
      item.current?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [isCurrent, isChosen]);
  const name = brief(stage.name ?? `Stage ${stage.number}`);
  const percent = percentOf(stage);
  const error = stage.error === undefined ? "" : brief(errorText(stage.error));
  return (
    <li class={`stage is-${stage.status}`} ref={item} aria-current={isCurrent ? "step" : undefined}>
      <button
        type="button"
        class="stage-button"
        aria-pressed={isChosen}
        title={error === "" ? `${name}: ${stage.status}` : `${name}: ${error}`}
        onClick={choose}
      >
        <span class="stage-head">
          <Mark status={stage.status} />
          <bdi class="stage-name">{breakable(name)}</bdi>
        </span>
        <span class="stage-line" aria-hidden="true">
          <span class="stage-done" style={{ width: `${percent ?? 0}%` }} />
        </span>
        <span class="stage-facts">
          {percent !== undefined && <span>{percent} %</span>}
          {stage.attempt > 1 && <span>attempt {stage.attempt}</span>}
          <span class="stage-took">{tookOf(stage, now)}</span>
        </span>
      </button>
    </li>
  );
}

/** A name that may go on in the next line behind each underscore. */
function breakable(name: string): ComponentChildren {
  return name.split(/(?<=_)/).flatMap((part, at) => (at === 0 ? [part] : [<wbr key={at} />, part]));
}

/** How events name a stage. */
export function namesOf({ name, number }: Stage): readonly string[] {
  return [name, number].filter((it) => it !== undefined).map(String);
}

function isCurrent(stage: Stage, { current_stage }: RunState): boolean {
  return current_stage !== null && namesOf(stage).includes(String(current_stage));
}

/** In whole percent; a stage that is over without an end of its own stays where it was. */
function percentOf({ status, progress }: Stage): number | undefined {
  if (status === "completed") return 100;
  if (status === "pending" || status === "skipped") return undefined;
  return progress === undefined ? undefined : Math.floor(Math.max(0, Math.min(1, progress)) * 100);
}

/** The stages of each variation, in a line of their own. */
function lanesOf(stages: readonly Stage[]): readonly [string | undefined, Stage[]][] {
  const lanes = new Map<string | undefined, Stage[]>();
  for (const stage of stages) {
    const lane = lanes.get(stage.variation);
    if (lane) lane.push(stage);
    else lanes.set(stage.variation, [stage]);
  }
  return [...lanes];
}
