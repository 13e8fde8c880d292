/** The form of a question: buttons for choices, else its fields. */

import { useId, useState } from "preact/hooks";
import { type Faults, type Field, type Form, fill, initialValues, type Values } from "./form.ts";

interface AnswerFormProps {
  readonly form: Form;
  /** What is taken when nobody answers. */
  readonly fallback: unknown;
  readonly isSending: boolean;
  /** What the server found wrong. */
  readonly faults: Faults;
  readonly submit: (answer: unknown) => void;
}

export function AnswerForm({ form, fallback, isSending, faults, submit }: AnswerFormProps) {
  const [values, setValues] = useState<Values>(() => initialValues(form));
  const [own, setOwn] = useState<Faults>({});
  if (form.kind === "choices") {
    return (
      <div class="choices">
        {form.choices.map((choice) => (
          <button
            key={choice}
            type="button"
            class="button"
            disabled={isSending}
            onClick={() => submit(choice)}
          >
            <bdi>{choice}</bdi>
            {choice === fallback && <span class="choice-default">default</span>}
          </button>
        ))}
      </div>
    );
  }
  const onSubmit = (event: Event) => {
    event.preventDefault();
    if (isSending) return;
    const filled = fill(form, values);
    setOwn(filled.kind === "faults" ? filled.faults : {});
    if (filled.kind === "answer") submit(filled.answer);
  };
  const found = { ...faults, ...own };
  const whole = form.isObject ? found[""] : undefined;
  return (
    <form class="answer" noValidate onSubmit={onSubmit}>
      {form.fields.map((field) => (
        <FieldRow
          key={field.at}
          field={field}
          value={values[field.at] ?? ""}
          fault={found[field.at]}
          onValue={(value) => setValues((now) => ({ ...now, [field.at]: value }))}
        />
      ))}
      {whole && (
        <p class="fault" role="alert">
          {whole}
        </p>
      )}
      <div class="answer-send">
        <button type="submit" class="button is-main" disabled={isSending}>
          {isSending ? "Sending…" : "Answer"}
        </button>
      </div>
    </form>
  );
}

interface FieldRowProps {
  readonly field: Field;
  readonly value: string;
  readonly fault: string | undefined;
  readonly onValue: (value: string) => void;
}

function FieldRow({ field, value, fault, onValue }: FieldRowProps) {
  const id = useId();
  const about = [field.description && `${id}-about`, fault && `${id}-fault`].filter(Boolean);
  return (
    <div class={`answer-field kind-of-${field.kind.kind}`} data-at={field.at}>
      <label for={id}>
        <bdi>{field.label}</bdi>
        {!field.isRequired && <span class="optional"> optional</span>}
      </label>
      <Control
        id={id}
        field={field}
        value={value}
        aria={{
          "aria-invalid": fault !== undefined,
          ...(about.length > 0 ? { "aria-describedby": about.join(" ") } : {}),
        }}
        onValue={onValue}
      />
      {field.description && (
        <p class="field-about" id={`${id}-about`}>
          {field.description}
        </p>
      )}
      {fault && (
        <p class="fault" id={`${id}-fault`} role="alert">
          {fault}
        </p>
      )}
    </div>
  );
}

interface ControlProps {
  readonly id: string;
  readonly field: Field;
  readonly value: string;
  readonly aria: Readonly<Record<string, string | boolean>>;
  readonly onValue: (value: string) => void;
}

function Control({ id, field, value, aria, onValue }: ControlProps) {
  const { kind } = field;
  const onInput = (event: { currentTarget: { value: string } }) =>
    onValue(event.currentTarget.value);
  switch (kind.kind) {
    case "boolean":
      return (
        <input
          id={id}
          type="checkbox"
          checked={value === "true"}
          onInput={(event) => onValue(event.currentTarget.checked ? "true" : "")}
          {...aria}
        />
      );
    case "choice":
      return (
        <select id={id} class="field" value={value} onInput={onInput} {...aria}>
          <option value="">{field.isRequired ? "Choose…" : "–"}</option>
          {kind.values.map((it, at) => (
            <option key={JSON.stringify(it)} value={String(at)}>
              {typeof it === "string" ? it : JSON.stringify(it)}
            </option>
          ))}
        </select>
      );
    case "number":
      return (
        <input
          id={id}
          class="field"
          // Not `number`: its value is empty while it holds what is no number, and says nothing.
          type="text"
          inputMode={kind.isWhole ? "numeric" : "decimal"}
          placeholder={rangeOf(kind.min, kind.max)}
          value={value}
          onInput={onInput}
          {...aria}
        />
      );
    case "text":
      if (!kind.isLong) {
        const most = kind.max === undefined ? {} : { maxLength: kind.max };
        return (
          <input
            id={id}
            class="field"
            type="text"
            value={value}
            onInput={onInput}
            {...most}
            {...aria}
          />
        );
      }
      return <textarea id={id} class="field" rows={3} value={value} onInput={onInput} {...aria} />;
    case "json":
      return (
        <textarea
          id={id}
          class="field mono"
          rows={4}
          spellcheck={false}
          value={value}
          onInput={onInput}
          {...aria}
        />
      );
  }
}

function rangeOf(min: number | undefined, max: number | undefined): string {
  if (min !== undefined && max !== undefined) return `${min} to ${max}`;
  if (min !== undefined) return `from ${min}`;
  return max === undefined ? "" : `up to ${max}`;
}
