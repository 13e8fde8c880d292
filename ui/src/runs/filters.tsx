/** What the list is filtered by: statuses with their counts, a text, and whatever else is wanted. */

import type { RunStatus, WorkStatus } from "@runcast/core";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { statusText, toneOf } from "../view/status.tsx";
import { count } from "../view/time.ts";
import { brief } from "../work/steps.ts";
import { changed, type ListFilter, localTime, NO_FILTER, partsOf, timeOf } from "./filter.ts";
import type { Counts } from "./run-list.ts";

const ACTIVE: readonly RunStatus[] = [
  "queued",
  "running",
  "paused",
  "input_required",
  "cancelling",
];
const OVER: readonly RunStatus[] = ["completed", "failed", "cancelled", "timed_out", "crashed"];
const STEP_STATUSES: readonly WorkStatus[] = [
  "pending",
  "running",
  "retrying",
  "completed",
  "failed",
  "skipped",
  "interrupted",
];
/** A text is asked for when nobody has typed for so long. */
const TYPING_MS = 250;

interface FilterProps {
  readonly filter: ListFilter;
  readonly change: (filter: ListFilter) => void;
}

export function StatusFilter({ filter, change, counts }: FilterProps & { counts: Counts }) {
  const chosen = filter.status;
  const sum = (statuses: readonly RunStatus[]) =>
    statuses.reduce((all, status) => all + (counts[status] ?? 0), 0);
  const choose = (status: readonly RunStatus[]) => change({ ...filter, status });
  const toggle = (status: RunStatus) =>
    choose(chosen.includes(status) ? chosen.filter((it) => it !== status) : [...chosen, status]);
  const isActive = chosen.length === ACTIVE.length && ACTIVE.every((it) => chosen.includes(it));
  const shown = [...ACTIVE, ...OVER].filter((it) => counts[it] || chosen.includes(it));
  return (
    <fieldset class="segments statuses">
      <legend class="unseen">Status</legend>
      <Choice
        name="All"
        isOn={chosen.length === 0}
        count={sum([...ACTIVE, ...OVER])}
        choose={() => choose([])}
      />
      <Choice
        name="Active"
        isOn={isActive}
        count={sum(ACTIVE)}
        choose={() => choose(isActive ? [] : ACTIVE)}
      />
      {shown.map((status) => (
        <Choice
          key={status}
          name={statusText(status)}
          tone={toneOf(status)}
          isOn={chosen.includes(status)}
          count={counts[status] ?? 0}
          choose={() => toggle(status)}
        />
      ))}
    </fieldset>
  );
}

interface ChoiceProps {
  readonly name: string;
  readonly tone?: string;
  readonly isOn: boolean;
  readonly count: number;
  readonly choose: () => void;
}

function Choice({ name, tone, isOn, count: runs, choose }: ChoiceProps) {
  return (
    <button type="button" aria-pressed={isOn} onClick={choose}>
      {tone !== undefined && <span class={`dot tone-${tone}`} aria-hidden="true" />}
      {name} <span class="segment-count">{count(runs)}</span>
    </button>
  );
}

/** A text in a run's name or id. */
export function TextFilter({ filter, change }: FilterProps) {
  const given = filter.text ?? "";
  const [text, setText] = useState(given);
  const said = useRef(given);
  useEffect(() => {
    if (text === said.current) return;
    const timer = setTimeout(() => {
      said.current = text;
      change(changed(filter, { text }));
    }, TYPING_MS);
    return () => clearTimeout(timer);
  }, [text, filter]);
  useEffect(() => {
    if (given === said.current) return;
    said.current = given;
    setText(given);
  }, [given]);
  return (
    <input
      class="field"
      type="search"
      placeholder="Name or id"
      aria-label="Only runs with this text in their name or id"
      value={text}
      onInput={(event) => setText(event.currentTarget.value)}
    />
  );
}

/** What is filtered by less often, behind a button. */
export function MoreFilters({ filter, change }: FilterProps) {
  const [isOpen, setOpen] = useState(false);
  const id = useId();
  const parts = partsOf(filter);
  return (
    <div class="more-filters">
      <button
        type="button"
        class="button"
        aria-expanded={isOpen}
        aria-controls={id}
        onClick={() => setOpen(!isOpen)}
      >
        Filters
      </button>
      {parts.map(({ name, value, without }) => (
        <span key={`${name} ${value}`} class="filter-part">
          {name !== "" && <span class="muted">{name}</span>}{" "}
          <bdi>{brief(value).replace("T", " ")}</bdi>
          <button
            type="button"
            class="remove"
            aria-label={`Do not filter by ${name} ${value}`}
            onClick={() => change(without)}
          >
            ×
          </button>
        </span>
      ))}
      {parts.length + filter.status.length > 1 && (
        <button type="button" class="link" onClick={() => change(NO_FILTER)}>
          Clear all
        </button>
      )}
      {isOpen && <FilterForm id={id} filter={filter} change={change} />}
    </div>
  );
}

function FilterForm({ id, filter, change }: FilterProps & { id: string }) {
  const [tag, setTag] = useState("");
  const [workflow, setWorkflow] = useState(filter.workflow ?? "");
  const onSubmit = (event: Event) => {
    event.preventDefault();
    const named = tag.trim();
    const tags = named === "" || filter.tag.includes(named) ? filter.tag : [...filter.tag, named];
    setTag("");
    change(changed(filter, { tag: tags, workflow: workflow.trim() }));
  };
  return (
    <form class="filter-form" id={id} onSubmit={onSubmit}>
      <NameField name="workflow" label="Workflow" value={workflow} onValue={setWorkflow} />
      <NameField name="tag" label="Tag" value={tag} onValue={setTag} />
      <label>
        With a step that is
        <select
          class="field"
          name="step_status"
          value={filter.step_status[0] ?? ""}
          onInput={({ currentTarget: { value } }) =>
            change({ ...filter, step_status: value === "" ? [] : [value as WorkStatus] })
          }
        >
          <option value="">anything</option>
          {STEP_STATUSES.map((status) => (
            <option key={status}>{status}</option>
          ))}
        </select>
      </label>
      <TimeField
        name="created_after"
        label="Created after"
        value={filter.created_after}
        onTime={(created_after) => change(changed(filter, { created_after }))}
      />
      <TimeField
        name="created_before"
        label="Created before"
        value={filter.created_before}
        onTime={(created_before) => change(changed(filter, { created_before }))}
      />
      <label class="filter-check">
        <input
          type="checkbox"
          checked={filter.input === "open"}
          onInput={({ currentTarget: { checked } }) =>
            change(changed(filter, { input: checked ? "open" : undefined }))
          }
        />
        Waits for an answer
      </label>
      <button type="submit" class="button is-main">
        Apply
      </button>
    </form>
  );
}

interface NameFieldProps {
  readonly name: string;
  readonly label: string;
  readonly value: string;
  readonly onValue: (value: string) => void;
}

function NameField({ name, label, value, onValue }: NameFieldProps) {
  return (
    <label>
      {label}
      <input
        class="field"
        name={name}
        value={value}
        onInput={(event) => onValue(event.currentTarget.value)}
      />
    </label>
  );
}

interface TimeFieldProps {
  readonly name: string;
  readonly label: string;
  readonly value: string | undefined;
  readonly onTime: (time: string | undefined) => void;
}

function TimeField({ name, label, value, onTime }: TimeFieldProps) {
  return (
    <label>
      {label}
      <input
        class="field"
        type="datetime-local"
        name={name}
        value={localTime(value)}
        onChange={(event) => onTime(timeOf(event.currentTarget.value))}
      />
    </label>
  );
}
