/** Finds a text in a run's log. */

import { useEffect, useRef, useState } from "preact/hooks";
import { MATCHES_MAX, type Search } from "../log/search.ts";
import { count } from "../view/time.ts";
import type { RunSession } from "./session.ts";

/** A search begins when nobody has typed for so long. */
const TYPING_MS = 200;

interface FindProps {
  readonly session: RunSession;
  /** The text that the log is filtered by. */
  readonly text: string;
  readonly find: (text: string) => void;
}

export function Find({ session, text: given, find }: FindProps) {
  const input = useRef<HTMLInputElement>(null);
  const [text, setText] = useState(given);
  const said = useRef(given);
  const { search } = session;
  useEffect(() => {
    const say = () => {
      if (text === said.current) return;
      said.current = text;
      find(text);
    };
    const timer = setTimeout(say, text === "" ? 0 : TYPING_MS);
    return () => clearTimeout(timer);
  }, [text]);
  useEffect(() => {
    // The address has another text: "Show in log" clears it, a link brings one.
    if (given === said.current) return;
    said.current = given;
    setText(given);
  }, [given]);
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const isTyping = event.target instanceof HTMLInputElement;
      if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      input.current?.focus();
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
  return (
    <div class="tools">
      <input
        ref={input}
        class="field"
        type="search"
        placeholder="Find in this run"
        aria-label="Show only events that contain this text"
        aria-keyshortcuts="/"
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") setText("");
        }}
      />
      {search && (
        <div class="found-line">
          <span class="found" role="status">
            {foundText(search, session.pages.last)}
          </span>
          {text !== "" && (
            <button type="button" class="link" onClick={() => setText("")}>
              Clear
            </button>
          )}
        </div>
      )}
    </div>
  );
}

function foundText(search: Search, last: number): string {
  const found = `${count(search.found)} ${search.found === 1 ? "event" : "events"} found`;
  const share = last === 0 ? 100 : Math.min(100, Math.floor((search.scanned / last) * 100));
  switch (search.state) {
    case "live":
      return found;
    case "full":
      return `The first ${count(MATCHES_MAX)} events found; try a longer text`;
    case "refused":
      return "The server refused this search";
    case "waiting":
      return `${found} in ${share} %; waiting for the server`;
    case "paused":
      return `${found} in the first ${share} %; scroll down for more`;
    case "scanning":
      return `${found}, looked at ${share} %`;
  }
}
