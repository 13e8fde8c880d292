/** What a run does, beside its log: its steps, the calls of tools, what was said, what came out. */

import type { RunState } from "@runcast/core";
import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { count } from "../view/time.ts";
import { Messages } from "./messages.tsx";
import { type ChosenStep, StepTree } from "./step-tree.tsx";
import { Tools } from "./tools.tsx";
import { Value } from "./value.tsx";

/** `log` is a tab only where both have no room beside each other. */
export type Tab = "log" | "steps" | "tools" | "messages" | "result";

interface TabInfo {
  readonly tab: Tab;
  readonly name: string;
  readonly count?: number;
}

/** The tabs that have something in them. */
export function tabsOf(run: RunState | undefined): readonly TabInfo[] {
  if (!run) return [];
  const counted: readonly TabInfo[] = [
    { tab: "steps", name: "Steps", count: run.steps.length + (run.omitted.steps ?? 0) },
    { tab: "tools", name: "Tools", count: run.tool_calls.length + (run.omitted.tool_calls ?? 0) },
    { tab: "messages", name: "Messages", count: run.messages.length + (run.omitted.messages ?? 0) },
  ];
  const result: readonly TabInfo[] =
    run.output_data === null ? [] : [{ tab: "result", name: "Result" }];
  return [...counted.filter((it) => it.count !== 0), ...result];
}

interface WorkProps {
  readonly run: RunState;
  readonly tab: Tab;
  readonly chosen: ChosenStep | undefined;
  readonly choose: (step: ChosenStep | undefined) => void;
  readonly find: (text: string) => void;
}

/** The panel of one tab. */
export function Work({ run, tab, chosen, choose, find }: WorkProps) {
  return (
    <section class="work" role="tabpanel" id="panel" aria-labelledby={`tab-${tab}`}>
      {tab === "steps" && <StepTree run={run} chosen={chosen} choose={choose} />}
      {tab === "tools" && (
        <Tools calls={run.tool_calls} omitted={run.omitted.tool_calls ?? 0} find={find} />
      )}
      {tab === "messages" && (
        <Messages messages={run.messages} omitted={run.omitted.messages ?? 0} />
      )}
      {tab === "result" && <Value name="What the run gave" value={run.output_data} />}
    </section>
  );
}

interface TabsProps {
  readonly tabs: readonly TabInfo[];
  readonly tab: Tab;
  readonly show: (tab: Tab) => void;
  readonly children?: ComponentChildren;
}

export function Tabs({ tabs, tab, show, children }: TabsProps) {
  const list = useRef<HTMLDivElement>(null);
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const at = tabs.findIndex((it) => it.tab === tab);
    const next = tabs[(at + step + tabs.length) % tabs.length];
    if (!next) return;
    show(next.tab);
    list.current?.querySelector<HTMLElement>(`#tab-${next.tab}`)?.focus();
  };
  return (
    <div
      class="tabs"
      role="tablist"
      aria-label="What the run does"
      ref={list}
      onKeyDown={onKeyDown}
    >
      {tabs.map((it) => (
        <button
          key={it.tab}
          type="button"
          role="tab"
          id={`tab-${it.tab}`}
          class="tab"
          aria-selected={it.tab === tab}
          aria-controls={it.tab === "log" ? "log" : "panel"}
          tabIndex={it.tab === tab ? 0 : -1}
          onClick={() => show(it.tab)}
        >
          {it.name}
          {it.count !== undefined && <span class="tab-count">{count(it.count)}</span>}
        </button>
      ))}
      {children}
    </div>
  );
}
