/** The bar at the top of every page. */

import { type ComponentChildren, createContext } from "preact";
import { useContext, useState } from "preact/hooks";
import type { Inbox } from "../inbox/inbox.ts";
import { NAME_CHARS_MAX, personName, rememberPerson } from "./person.ts";
import { count } from "./time.ts";
import { useChanges } from "./use.ts";

/** What waits for a person: each page says how much that is. */
export const InboxContext = createContext<Inbox | undefined>(undefined);

export function TopBar({ children }: { children?: ComponentChildren }) {
  const inbox = useContext(InboxContext);
  return (
    <header class="top">
      <a class="brand" href="/">
        <svg viewBox="0 0 20 20" width="18" height="18" aria-hidden="true">
          <path d="M2 5h16M2 10h9M2 15h6" class="brand-lines" />
          <circle cx="15" cy="13" r="3.4" class="brand-dot" />
        </svg>
        Runcast
      </a>
      {inbox && <InboxLink inbox={inbox} />}
      {children}
    </header>
  );
}

function InboxLink({ inbox }: { inbox: Inbox }) {
  useChanges(inbox);
  const open = inbox.count;
  const label = open === 0 ? "Inbox" : `Inbox, ${count(open)} open`;
  const isHere = location.pathname === "/inbox";
  return (
    <a
      class="inbox-link"
      href="/inbox"
      aria-label={label}
      aria-current={isHere ? "page" : undefined}
    >
      Inbox
      {open > 0 && <span class="inbox-count">{count(open)}</span>}
    </a>
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
