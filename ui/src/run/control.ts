/** What a person can ask of a run now, and how far it is with what it was asked. Pure. */

import type { Command, RunState } from "@runcast/core";

export type ControlName = "pause" | "resume" | "stop";
export const CONTROLS: readonly ControlName[] = ["pause", "resume", "stop"];

export type Control =
  | { readonly kind: "ready" }
  /** It was asked, by whoever, and the run has not said yet what became of it. */
  | { readonly kind: "under_way"; readonly command: Command }
  | { readonly kind: "impossible"; readonly why: string };

export function controlOf(run: RunState, name: ControlName): Control {
  if (run.is_terminal) return impossible("the run has ended");
  const command = run.commands.find((it) => it.name === name && isOpen(it));
  if (command) return { kind: "under_way", command };
  if (run.status === "cancelling") return impossible("the run is being stopped");
  if (name === "pause" && run.status === "paused") return impossible("the run is paused");
  const mayResume = run.status === "paused" || run.commands.some((it) => isOpenPause(it));
  if (name === "resume" && !mayResume) return impossible("the run is not paused");
  return { kind: "ready" };
}

/** The commands that are worth a line: all that are open, and the newest one that is over. */
export function shownCommands(commands: readonly Command[]): readonly Command[] {
  const over = commands.filter((it) => !isOpen(it));
  const newest = over.reduce<Command | undefined>((best, it) => {
    return best === undefined || endOf(it) >= endOf(best) ? it : best;
  }, undefined);
  return commands.filter((it) => isOpen(it) || it === newest);
}

/** One way point of a command: passed at a time, awaited, or never reached. */
export interface Point {
  readonly name: string;
  readonly state: "passed" | "awaited" | "failed";
  readonly at?: string;
}

/** The way of a command from being asked to its end. */
export function wayOf(command: Command): readonly Point[] {
  const asked: Point = { name: "asked", state: "passed", at: command.requested_at };
  const delivered: Point[] = command.delivered_at
    ? [{ name: "delivered", state: "passed", at: command.delivered_at }]
    : [];
  switch (command.status) {
    case "requested":
      return [asked, { name: "delivered", state: "awaited" }, { name: "done", state: "awaited" }];
    case "delivered":
      return [asked, ...delivered, { name: "done", state: "awaited" }];
    case "done":
      return [asked, ...delivered, ended("done", "passed", command)];
    case "refused":
    case "expired":
      return [asked, ...delivered, ended(command.status, "failed", command)];
    case "closed":
      return [asked, ...delivered, ended("over: the run ended first", "failed", command)];
  }
}

function isOpen(command: Command): boolean {
  return command.status === "requested" || command.status === "delivered";
}

function isOpenPause(command: Command): boolean {
  return command.name === "pause" && isOpen(command);
}

function endOf(command: Command): number {
  return Date.parse(command.ended_at ?? command.requested_at);
}

function ended(name: string, state: Point["state"], command: Command): Point {
  return command.ended_at ? { name, state, at: command.ended_at } : { name, state };
}

function impossible(why: string): Control {
  return { kind: "impossible", why };
}
