/** What the log is filtered by, beside a text: each can be taken away, all can be sent as a link. */

import { EVERYTHING, type LogFilter } from "../log/filter.ts";
import { CopyButton } from "../view/copy.tsx";
import { brief } from "../work/steps.ts";

interface FilterBarProps {
  readonly filter: LogFilter;
  readonly change: (part: Partial<LogFilter>) => void;
}

export function FilterBar({ filter, change }: FilterBarProps) {
  const { stage, step, variation } = filter;
  if (stage.length === 0 && step === undefined && variation === undefined) return null;
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset's legend has no place in a row
    <div class="filter-bar" role="group" aria-label="The log is filtered">
      <span class="muted">Only</span>
      {stage[0] !== undefined && (
        <Part name="stage" value={stage[0]} remove={() => change({ stage: [] })} />
      )}
      {step !== undefined && (
        <Part name="step" value={step} remove={() => change({ step: undefined })} />
      )}
      {variation !== undefined && (
        <Part name="variation" value={variation} remove={() => change({ variation: undefined })} />
      )}
      <span class="filter-tools">
        <CopyButton text={location.href} label="Copy the link to this filter">
          copy link
        </CopyButton>
        <button type="button" class="link" onClick={() => change(EVERYTHING)}>
          Show all
        </button>
      </span>
    </div>
  );
}

interface PartProps {
  readonly name: string;
  readonly value: string;
  readonly remove: () => void;
}

function Part({ name, value, remove }: PartProps) {
  return (
    <span class="filter-part">
      <span class="muted">{name}</span> <bdi>{brief(value)}</bdi>
      <button type="button" class="remove" aria-label={`Do not filter by ${name}`} onClick={remove}>
        ×
      </button>
    </span>
  );
}
