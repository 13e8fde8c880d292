/** The log of a run: a window on any number of events, with a search over them. */

import { useCallback, useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { RunSession } from "../run/session.ts";
import { amend, offsetOf } from "../view/route.ts";
import { count } from "../view/time.ts";
import type { Entry } from "./entry.ts";
import { EVERYTHING } from "./filter.ts";
import { LOADING_LINES, Opened } from "./opened.tsx";
import { Row } from "./row.tsx";
import { LINE_PX, Scroll } from "./scroll.ts";
import { type Drawn, Viewport } from "./viewport.ts";

/** How wide a character is, is measured over so many. */
const PROBE_CHARS = 100;

export function LogView({ session }: { session: RunSession }) {
  const scroller = useRef<HTMLDivElement>(null);
  const space = useRef<HTMLDivElement>(null);
  const layer = useRef<HTMLDivElement>(null);
  const probe = useRef<HTMLDivElement>(null);
  const viewport = useRef<Viewport>();
  const [drawn, setDrawn] = useState<readonly Drawn[]>([]);
  const [target, setTarget] = useState(() => offsetOf(location.hash));
  const place = useRef<Scroll>();
  const followedTo = useRef(0);

  useLayoutEffect(() => {
    if (!scroller.current || !space.current || !layer.current || !probe.current) return;
    const elements = { scroller: scroller.current, space: space.current, layer: layer.current };
    const view = new Viewport(elements, session.pages, setDrawn);
    viewport.current = view;
    const measure = () => view.resize(elements.scroller.clientHeight, columnsOf(probe.current));
    const observer = new ResizeObserver(measure);
    observer.observe(elements.scroller);
    measure();
    const unsubscribe = session.subscribe(() => view.request());
    return () => {
      observer.disconnect();
      unsubscribe();
      view.close();
    };
  }, [session]);

  useEffect(() => {
    const go = () => {
      const offset = offsetOf(location.hash);
      setTarget(offset);
      if (offset !== undefined) viewport.current?.reveal(offset);
    };
    go();
    addEventListener("hashchange", go);
    return () => removeEventListener("hashchange", go);
  }, [session]);

  const { search } = session;
  useLayoutEffect(() => {
    const view = viewport.current;
    if (!view) return;
    if (search) {
      // The place in the whole log is kept for when the search is cleared.
      place.current ??= view.scroll;
      const top = new Scroll(search.index);
      top.goTo(0);
      view.show(search, top);
    } else if (place.current) {
      view.show(session.pages, place.current);
      place.current = undefined;
    }
  }, [search, session]);

  const onClose = useCallback((entry: Entry) => viewport.current?.open(entry, 0), []);
  const onLines = useCallback((entry: Entry, lines: number) => {
    viewport.current?.open(entry, lines);
  }, []);
  const load = useCallback(session.whole.bind(session), [session]);
  const onShow = useCallback(
    (offset: number) => {
      session.filter(EVERYTHING);
      amend(`${location.pathname}#${offset}`);
      setTarget(offset);
      // The view shows the whole log again after this drawing.
      requestAnimationFrame(() => viewport.current?.reveal(offset));
    },
    [session],
  );
  const onClick = (event: MouseEvent) => {
    const row = event.target instanceof Element ? event.target.closest(".row") : null;
    const isSelecting = getSelection()?.isCollapsed === false;
    if (!row || isSelecting) return;
    const at = Array.prototype.indexOf.call(row.parentElement?.children ?? [], row);
    const item = drawn[at];
    if (item?.kind === "line" && item.entry.kind !== "note") {
      viewport.current?.open(item.entry, item.isOpen ? 0 : LOADING_LINES);
    }
  };

  const isFollowing = viewport.current?.isFollowing ?? true;
  // What was there when the page was opened at another place is not new either.
  if (isFollowing || followedTo.current === 0) followedTo.current = session.pages.last;
  const fresh = Math.max(0, session.pages.last - followedTo.current);
  return (
    <div class="log-frame">
      {/* biome-ignore lint/a11y/useKeyWithClickEvents: each row has a button for the keyboard */}
      <div
        class="log"
        ref={scroller}
        role="log"
        aria-live="off"
        aria-label="Events"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it
        tabIndex={0}
        onClick={onClick}
      >
        <div class="row log-probe" ref={probe} aria-hidden="true">
          <span class="row-time" />
          <span class="row-text">
            <span>{"0".repeat(PROBE_CHARS)}</span>
          </span>
        </div>
        <div class="log-space" ref={space}>
          <div class="log-layer" ref={layer}>
            {drawn.map((item) => {
              if (item.kind === "hole") return <Hole key={item.key} lines={item.lines} />;
              const { entry } = item;
              if (item.kind === "open") {
                return (
                  <div key={item.key} style={{ height: `${item.lines * LINE_PX}px` }}>
                    <Opened
                      entry={entry}
                      load={load}
                      onLines={onLines}
                      onClose={onClose}
                      onShow={search ? onShow : undefined}
                    />
                  </div>
                );
              }
              return (
                <Row
                  key={item.key}
                  entry={entry}
                  revision={item.revision}
                  from={item.from}
                  to={item.to}
                  isFirst={item.isFirst}
                  isOpen={item.isOpen}
                  isTarget={target !== undefined && entry.offset <= target && target <= entry.last}
                  needle={search?.needle ?? ""}
                />
              );
            })}
          </div>
        </div>
        <div class="jump-place">
          {!isFollowing && !search && (
            <button type="button" class="jump" onClick={() => viewport.current?.toNewest()}>
              Jump to newest{fresh > 0 && ` (${count(fresh)} new)`}
            </button>
          )}
        </div>
      </div>
    </div>
  );
}

function Hole({ lines }: { lines: number }) {
  return <div class="hole" style={{ height: `${lines * LINE_PX}px` }} />;
}

/** How many characters of text have room in a row. */
function columnsOf(probe: HTMLElement | null): number {
  const text = probe?.querySelector<HTMLElement>(".row-text");
  const characters = text?.firstElementChild?.getBoundingClientRect().width ?? 0;
  if (!text || characters === 0) return 80;
  return Math.max(16, Math.floor(text.clientWidth / (characters / PROBE_CHARS)));
}
