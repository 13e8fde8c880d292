/** What one run asks: the open questions first, those that are over folded away. */

import type { Input } from "@runcast/core";
import { useRef } from "preact/hooks";
import { useNow } from "../view/use.ts";
import { InputCard } from "./input-card.tsx";

interface InputsProps {
  readonly inputs: readonly Input[];
  readonly answer: (input: string, answer: unknown) => Promise<Input>;
}

export function Inputs({ inputs, answer }: InputsProps) {
  // A question that was open when the page came stays where it is: somebody may be at its form.
  const seen = useRef(new Set<string>());
  for (const input of inputs) if (input.status === "open") seen.current.add(input.input);
  const now = useNow(inputs.some((input) => input.status === "open"));
  if (inputs.length === 0) return null;
  const cards = (shown: readonly Input[]) =>
    shown.map((input) => (
      <InputCard
        key={input.input}
        input={input}
        now={now}
        send={(value) => answer(input.input, value)}
      />
    ));
  const earlier = inputs.filter((input) => !seen.current.has(input.input));
  return (
    <section class="inputs" aria-label="Questions">
      {cards(inputs.filter((input) => seen.current.has(input.input)))}
      {earlier.length > 0 && (
        <details class="earlier">
          <summary>
            {earlier.length} earlier {earlier.length === 1 ? "question" : "questions"}
          </summary>
          {cards(earlier)}
        </details>
      )}
    </section>
  );
}
