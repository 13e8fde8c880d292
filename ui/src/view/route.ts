/** Where the page is: the list of runs, one run, or all that waits for a person. */

import { useEffect, useState } from "preact/hooks";

export type Route =
  | { readonly page: "runs" }
  | { readonly page: "inbox" }
  | { readonly page: "run"; readonly id: string };

export function routeOf(path: string): Route {
  if (/^\/inbox\/?$/.test(path)) return { page: "inbox" };
  const run = /^\/runs\/([^/]+)\/?$/.exec(path);
  if (!run?.[1]) return { page: "runs" };
  try {
    return { page: "run", id: decodeURIComponent(run[1]) };
  } catch {
    return { page: "run", id: run[1] };
  }
}

export function pathOfRun(id: string): string {
  return `/runs/${encodeURIComponent(id)}`;
}

/** The event that an address points at, such as `#1234`. */
export function offsetOf(hash: string): number | undefined {
  const offset = /^#(\d{1,16})$/.exec(hash);
  const number = Number(offset?.[1]);
  return Number.isSafeInteger(number) && number > 0 ? number : undefined;
}

/** Goes to another address without loading the page anew. */
export function navigate(address: string): void {
  history.pushState(null, "", address);
  dispatchEvent(new PopStateEvent("popstate"));
}

/** Says in the address what the page shows now; the way back does not stop there. */
export function amend(address: string): void {
  history.replaceState(null, "", address);
  dispatchEvent(new PopStateEvent("popstate"));
}

/** The address's query, kept up to date. */
export function useQuery(): string {
  const [query, setQuery] = useState(() => location.search);
  useEffect(() => {
    const moved = () => setQuery(location.search);
    moved();
    addEventListener("popstate", moved);
    return () => removeEventListener("popstate", moved);
  }, []);
  return query;
}
