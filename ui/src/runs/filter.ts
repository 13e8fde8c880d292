/**
 * Which runs the list shows. The page's address has it in the words of the API, so that a list can be
 * sent to another and asked for by a script alike. Pure.
 */

import type { RunStatus, WorkStatus } from "@runcast/core";

export interface ListFilter {
  readonly status: readonly RunStatus[];
  readonly tag: readonly string[];
  readonly step_status: readonly WorkStatus[];
  readonly workflow?: string;
  readonly input?: "open";
  readonly text?: string;
  /** RFC 3339. */
  readonly created_after?: string;
  readonly created_before?: string;
}

export const NO_FILTER: ListFilter = { status: [], tag: [], step_status: [] };

const ONE = ["workflow", "text", "created_after", "created_before"] as const;
const MANY = ["status", "tag", "step_status"] as const;
/** An address has no more of one. */
const VALUES_MAX = 32;

export function filterOf(search: string): ListFilter {
  const query = new URLSearchParams(search);
  const one = ONE.flatMap((name) => {
    const value = query.get(name);
    return value ? [[name, value] as const] : [];
  });
  const many = MANY.map((name) => {
    const values = [...new Set(query.getAll(name).filter(Boolean))];
    return [name, values.slice(0, VALUES_MAX)] as const;
  });
  const input = query.get("input") === "open" ? { input: "open" } : {};
  // A status that is none is the server's to refuse.
  return { ...Object.fromEntries([...many, ...one]), ...input } as ListFilter;
}

/** The filter as the query of an address; empty if it finds all runs. */
export function queryOf(filter: ListFilter): string {
  const query = new URLSearchParams();
  for (const name of MANY) for (const value of filter[name]) query.append(name, value);
  for (const name of ONE) if (filter[name] !== undefined) query.set(name, filter[name]);
  if (filter.input !== undefined) query.set("input", filter.input);
  const pairs = query.toString();
  return pairs && `?${pairs}`;
}

/** The filter without what is empty in a change to it. */
export function changed(
  filter: ListFilter,
  part: { readonly [Name in keyof ListFilter]?: ListFilter[Name] | undefined },
): ListFilter {
  const entries = Object.entries({ ...filter, ...part });
  return Object.fromEntries(
    entries.filter(([, value]) => value !== undefined && value !== ""),
  ) as unknown as ListFilter;
}

/** What a person can take away of it, each with what it is without. */
export function partsOf(
  filter: ListFilter,
): readonly { readonly name: string; readonly value: string; readonly without: ListFilter }[] {
  const { workflow, input, created_after, created_before } = filter;
  const without = (part: Parameters<typeof changed>[1]) => changed(filter, part);
  const given = [
    workflow !== undefined && {
      name: "workflow",
      value: workflow,
      without: without({ workflow: undefined }),
    },
    ...filter.tag.map((tag) => ({
      name: "tag",
      value: tag,
      without: without({ tag: filter.tag.filter((it) => it !== tag) }),
    })),
    ...filter.step_status.map((status) => ({
      name: "with a step",
      value: status,
      without: without({ step_status: filter.step_status.filter((it) => it !== status) }),
    })),
    input !== undefined && {
      name: "",
      value: "waits for an answer",
      without: without({ input: undefined }),
    },
    created_after !== undefined && {
      name: "created after",
      value: localTime(created_after),
      without: without({ created_after: undefined }),
    },
    created_before !== undefined && {
      name: "created before",
      value: localTime(created_before),
      without: without({ created_before: undefined }),
    },
  ];
  return given.filter((part) => part !== false);
}

/** A time as a field for local times has it: to the minute, empty if it is none. */
export function localTime(time: string | undefined): string {
  const date = new Date(time ?? "");
  if (Number.isNaN(date.getTime())) return time ?? "";
  const two = (part: number) => String(part).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day}T${two(date.getHours())}:${two(date.getMinutes())}`;
}

/** The time of a field for local times; nothing if it has none. */
export function timeOf(local: string): string | undefined {
  const date = new Date(local);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}
