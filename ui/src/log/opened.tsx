/** An opened event: all of it, as JSON. */

import { useEffect, useState } from "preact/hooks";
import { CopyButton } from "../view/copy.tsx";
import { count } from "../view/time.ts";
import type { Entry } from "./entry.ts";

/** More lines scroll in the panel. */
const JSON_LINES_MAX = 18;
/** Lines that the panel takes beside those of the JSON: its head, its edges. */
const FRAME_LINES = 3;

export const LOADING_LINES = FRAME_LINES + 1;

type State =
  | { readonly kind: "loading" }
  | { readonly kind: "failed" }
  | { readonly kind: "ready"; readonly json: string };

interface OpenedProps {
  readonly entry: Entry;
  readonly load: (first: number, last: number, signal: AbortSignal) => Promise<unknown[]>;
  /** How many lines the panel takes, once that is known. */
  readonly onLines: (entry: Entry, lines: number) => void;
  readonly onClose: (entry: Entry) => void;
  /** Leaves the search and goes to the event, if there is a search. */
  readonly onShow: ((offset: number) => void) | undefined;
}

export function Opened({ entry, load, onLines, onClose, onShow }: OpenedProps) {
  const [state, setState] = useState<State>({ kind: "loading" });
  const { offset } = entry;
  // A line that still grows is read as it was when it was opened.
  const [last] = useState(entry.last);
  useEffect(() => {
    const abort = new AbortController();
    load(offset, last, abort.signal).then(
      (events) => {
        const json = events.map((event) => JSON.stringify(event, null, 2)).join("\n");
        setState({ kind: "ready", json });
        onLines(entry, FRAME_LINES + Math.min(JSON_LINES_MAX, json.split("\n").length));
      },
      () => {
        if (!abort.signal.aborted) setState({ kind: "failed" });
      },
    );
    return () => abort.abort();
  }, [offset, last]);
  const copy = () => {
    if (state.kind === "ready") void navigator.clipboard?.writeText(state.json);
  };
  const title = last > offset ? `Events ${count(offset)}–${count(last)}` : `Event ${count(offset)}`;
  return (
    <section class="opened" aria-label={title}>
      <div class="opened-head">
        <a href={`${location.search}#${offset}`}>{title}</a>
        <span class="opened-tools">
          {onShow && (
            <button type="button" class="link" onClick={() => onShow(offset)}>
              Show in log
            </button>
          )}
          <CopyButton
            text={`${location.origin}${location.pathname}#${offset}`}
            label="Copy the link to this event"
          >
            Copy link
          </CopyButton>
          <button type="button" class="link" onClick={copy}>
            Copy JSON
          </button>
          <button type="button" class="link" onClick={() => onClose(entry)}>
            Close
          </button>
        </span>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it */}
      <pre class="opened-json" tabIndex={0}>
        {state.kind === "ready" && state.json}
        {state.kind === "loading" && "Loading…"}
        {state.kind === "failed" && "The event could not be loaded. Close it and try again."}
      </pre>
    </section>
  );
}
