/** Where the page is: the list of runs or one run. */

export type Route = { readonly page: "runs" } | { readonly page: "run"; readonly id: string };

export function routeOf(path: string): Route {
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

/** Goes to another page without loading it anew. */
export function navigate(path: string): void {
  history.pushState(null, "", path);
  dispatchEvent(new PopStateEvent("popstate"));
}
