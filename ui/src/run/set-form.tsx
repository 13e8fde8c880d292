/** The form that gives a run parameters: names and values, as `runcast set` has them. */

import { useEffect, useRef, useState } from "preact/hooks";

interface Pair {
  readonly name: string;
  readonly value: string;
}

const NONE: Pair = { name: "", value: "" };
/** More are another command. */
const PAIRS_MAX = 20;

interface SetFormProps {
  readonly isSending: boolean;
  readonly submit: (args: Readonly<Record<string, unknown>>) => void;
  readonly cancel: () => void;
}

export function SetForm({ isSending, submit, cancel }: SetFormProps) {
  const [pairs, setPairs] = useState<readonly Pair[]>([NONE]);
  const first = useRef<HTMLInputElement>(null);
  useEffect(() => first.current?.focus(), []);
  const change = (at: number, part: Partial<Pair>) =>
    setPairs((now) => now.map((pair, index) => (index === at ? { ...pair, ...part } : pair)));
  const args = parametersOf(pairs);
  const onSubmit = (event: Event) => {
    event.preventDefault();
    if (args && !isSending) submit(args);
  };
  return (
    <form
      class="set-form"
      aria-label="Set parameters of this run"
      onSubmit={onSubmit}
      onKeyDown={(event) => {
        if (event.key === "Escape") cancel();
      }}
    >
      {pairs.map((pair, at) => (
        <div class="set-pair" key={`pair ${at}`}>
          <input
            ref={at === 0 ? first : null}
            class="field"
            placeholder="Parameter"
            aria-label={`Name of parameter ${at + 1}`}
            spellcheck={false}
            autocapitalize="off"
            value={pair.name}
            onInput={(event) => change(at, { name: event.currentTarget.value })}
          />
          <input
            class="field"
            placeholder="Value: text or JSON"
            aria-label={`Value of parameter ${at + 1}`}
            spellcheck={false}
            value={pair.value}
            onInput={(event) => change(at, { value: event.currentTarget.value })}
          />
        </div>
      ))}
      <div class="set-send">
        <button type="submit" class="button is-main" disabled={!args || isSending}>
          {isSending ? "Asking…" : "Set"}
        </button>
        <button
          type="button"
          class="button"
          disabled={pairs.length >= PAIRS_MAX}
          onClick={() => setPairs([...pairs, NONE])}
        >
          Another
        </button>
        <button type="button" class="button" onClick={cancel}>
          Cancel
        </button>
      </div>
    </form>
  );
}

/** The parameters: a value that is JSON is taken as that, anything else as text. */
export function parametersOf(pairs: readonly Pair[]): Record<string, unknown> | undefined {
  const named = pairs.filter(({ name }) => name.trim() !== "");
  if (named.length === 0) return undefined;
  // Not an assignment: a parameter may be called __proto__.
  return Object.fromEntries(named.map(({ name, value }) => [name.trim(), readValue(value)]));
}

function readValue(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}
