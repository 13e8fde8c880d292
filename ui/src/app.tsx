/** Which page is shown. */

import type { Client } from "@runcast/core";
import { useEffect, useState } from "preact/hooks";
import { RunPage } from "./run/run-page.tsx";
import { RunsPage } from "./runs/runs-page.tsx";
import { navigate, routeOf } from "./view/route.ts";

export function App({ client }: { client: Client }) {
  const [route, setRoute] = useState(() => routeOf(location.pathname));
  useEffect(() => {
    const moved = () => setRoute(routeOf(location.pathname));
    addEventListener("popstate", moved);
    return () => removeEventListener("popstate", moved);
  }, []);
  // Links within the UI change the page without loading it anew.
  const onClick = (event: MouseEvent) => {
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    const isPlain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey;
    if (!link || !isPlain || link.origin !== location.origin || link.target) return;
    if (link.pathname === location.pathname && link.hash) return;
    event.preventDefault();
    navigate(link.pathname);
  };
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: only links are acted on
    // biome-ignore lint/a11y/useKeyWithClickEvents: a link's Enter key is a click
    <div class="app" onClick={onClick}>
      {route.page === "runs" ? (
        <RunsPage client={client} />
      ) : (
        <RunPage key={route.id} client={client} id={route.id} />
      )}
    </div>
  );
}
