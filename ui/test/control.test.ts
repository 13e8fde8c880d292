import type { Command, RunState, RunStatus } from "@runcast/core";
import { expect, it } from "vitest";
import { CONTROLS, controlOf, shownCommands, wayOf } from "../src/run/control.ts";

const AT = "2026-11-20T21:16:00Z";
const command = (
  name: string,
  status: Command["status"],
  more: Partial<Command> = {},
): Command => ({
  command: `cmd_${name}_${status}`,
  name,
  status,
  requested_at: AT,
  ...more,
});
const run = (status: RunStatus, ...commands: Command[]) =>
  ({ status, is_terminal: status === "completed", commands }) as unknown as RunState;
const kinds = (state: RunState) => CONTROLS.map((name) => controlOf(state, name).kind);

it("what is possible is ready, and all else says why", () => {
  expect(kinds(run("running"))).toEqual(["ready", "impossible", "ready"]);
  expect(kinds(run("input_required"))).toEqual(["ready", "impossible", "ready"]);
  expect(kinds(run("paused"))).toEqual(["impossible", "ready", "ready"]);
  expect(kinds(run("cancelling"))).toEqual(["impossible", "impossible", "impossible"]);
  expect(kinds(run("completed"))).toEqual(["impossible", "impossible", "impossible"]);
  expect(controlOf(run("running"), "resume")).toEqual({
    kind: "impossible",
    why: "the run is not paused",
  });
});

it("a command that somebody asked for is under way until the run says what became of it", () => {
  const asked = run("running", command("pause", "requested", { by: "ada" }));
  expect(controlOf(asked, "pause")).toMatchObject({ kind: "under_way", command: { by: "ada" } });
  expect(controlOf(asked, "resume").kind).toBe("ready");
  const delivered = run("cancelling", command("stop", "delivered"));
  expect(controlOf(delivered, "stop").kind).toBe("under_way");
  for (const status of ["done", "refused", "expired"] as const) {
    expect(controlOf(run("running", command("pause", status)), "pause").kind).toBe("ready");
  }
});

it("open commands are shown, and the newest that is over", () => {
  const older = command("pause", "done", { ended_at: "2026-11-20T21:16:01Z" });
  const newer = command("resume", "refused", { ended_at: "2026-11-20T21:16:05Z" });
  const open = command("set", "requested");
  expect(shownCommands([older, newer, open])).toEqual([newer, open]);
  expect(shownCommands([])).toEqual([]);
});

it("the way of a command says what was passed and what is awaited", () => {
  const way = (status: Command["status"], more: Partial<Command> = {}) =>
    wayOf(command("stop", status, more)).map(({ name, state }) => `${name} ${state}`);
  expect(way("requested")).toEqual(["asked passed", "delivered awaited", "done awaited"]);
  const delivered = { delivered_at: AT };
  expect(way("delivered", delivered)).toEqual(["asked passed", "delivered passed", "done awaited"]);
  expect(way("done", delivered)).toEqual(["asked passed", "delivered passed", "done passed"]);
  expect(way("done")).toEqual(["asked passed", "done passed"]);
  expect(way("refused")).toEqual(["asked passed", "refused failed"]);
  expect(way("expired", delivered)).toEqual(["asked passed", "delivered passed", "expired failed"]);
  expect(way("closed")).toEqual(["asked passed", "over: the run ended first failed"]);
});
