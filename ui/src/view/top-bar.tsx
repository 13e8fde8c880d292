/** The bar at the top of every page. */

import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { NAME_CHARS_MAX, personName, rememberPerson } from "./person.ts";

export function TopBar({ children }: { children?: ComponentChildren }) {
  return (
    <header class="top">
      <a class="brand" href="/">
        <svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
          <path d="M2 5h16M2 10h9M2 15h6" class="brand-lines" />
          <circle cx="15" cy="13" r="3.4" class="brand-dot" />
        </svg>
        Runcast
      </a>
      {children}
    </header>
  );
}

/** Who looks at the page, said with what they ask and answer. */
export function Person() {
  const [name, setName] = useState(personName);
  return (
    <input
      class="field person"
      type="text"
      autocomplete="nickname"
      placeholder="Your name"
      aria-label="Your name, said with what you ask and answer"
      maxLength={NAME_CHARS_MAX}
      value={name}
      onInput={(event) => {
        setName(event.currentTarget.value);
        rememberPerson(event.currentTarget.value);
      }}
    />
  );
}
