/** Which page is shown, and what all pages share. */

import type { Client } from "@runcast/core";
import { useEffect, useMemo, useState } from "preact/hooks";
import { Inbox } from "./inbox/inbox.ts";
import { InboxPage } from "./inbox/inbox-page.tsx";
import { RunPage } from "./run/run-page.tsx";
import { RunsPage } from "./runs/runs-page.tsx";
import { navigate, type Route, routeOf } from "./view/route.ts";
import { RunFeed } from "./view/run-feed.ts";
import { InboxContext } from "./view/top-bar.tsx";

export function App({ client }: { client: Client }) {
  const feed = useMemo(() => new RunFeed(client), [client]);
  const inbox = useMemo(() => new Inbox(client, feed), [client, feed]);
  useEffect(() => {
    inbox.start();
    return () => inbox.close();
  }, [inbox]);
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
    const isHere = link.pathname === location.pathname && link.search === location.search;
    if (isHere && link.hash) return;
    event.preventDefault();
    navigate(link.pathname + link.search + link.hash);
  };
  return (
    <InboxContext.Provider value={inbox}>
      {/* biome-ignore lint/a11y/noStaticElementInteractions: only links are acted on */}
      {/* biome-ignore lint/a11y/useKeyWithClickEvents: a link's Enter key is a click */}
      <div class="app" onClick={onClick}>
        <Page route={route} client={client} feed={feed} inbox={inbox} />
      </div>
    </InboxContext.Provider>
  );
}

interface PageProps {
  readonly route: Route;
  readonly client: Client;
  readonly feed: RunFeed;
  readonly inbox: Inbox;
}

function Page({ route, client, feed, inbox }: PageProps) {
  switch (route.page) {
    case "runs":
      return <RunsPage client={client} feed={feed} />;
    case "inbox":
      return <InboxPage inbox={inbox} />;
    case "run":
      return <RunPage key={route.id} client={client} id={route.id} />;
  }
}
