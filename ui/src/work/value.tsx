/** Values that a run gave, as text: nothing of them becomes markup. */

import { manyLines } from "../log/terminal.ts";
import { count } from "../view/time.ts";

/** More of a value is not shown. */
const VALUE_CHARS_MAX = 20_000;

export function Value({ name, value }: { name: string; value: unknown }) {
  if (value === undefined || value === null) return null;
  return (
    <div class="value">
      <div class="value-name">{name}</div>
      <Text text={valueText(value)} label={name} />
    </div>
  );
}

/** A text of any length, in a place of its own that scrolls. */
export function Text({ text, label }: { text: string; label: string }) {
  const more = text.length - VALUE_CHARS_MAX;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for fields
    <pre class="value-text" role="group" tabIndex={0} aria-label={label}>
      <bdi>{manyLines(text.slice(0, VALUE_CHARS_MAX))}</bdi>
      {more > 0 && `… ${count(more)} more characters: they are in the log`}
    </pre>
  );
}

export function valueText(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "");
}

/** What an error says: its message, if it has one. */
export function errorText(error: unknown): string {
  if (typeof error === "object" && error !== null) {
    const { message } = error as { message?: unknown };
    if (typeof message === "string") return message;
  }
  return typeof error === "string" ? error : (JSON.stringify(error) ?? "");
}
