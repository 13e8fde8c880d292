import type { RunEvent } from "@runcast/core";
import { expect, it } from "vitest";
import * as log from "../src/log/filter.ts";
import { parametersOf } from "../src/run/set-form.tsx";
import * as runs from "../src/runs/filter.ts";

it("a log's filter is in the address, and the same again from there", () => {
  const filter = { text: "a&b=ü", stage: ["plan", "1"], step: "s/1", variation: "v" };
  const query = log.queryOf(filter);
  expect(query).toBe("?stage=plan&stage=1&step=s%2F1&variation=v&find=a%26b%3D%C3%BC");
  expect(log.filterOf(query)).toEqual(filter);
  expect(log.queryOf(log.EVERYTHING)).toBe("");
  expect(log.filterOf("?step=&stage=&other=1")).toEqual(log.EVERYTHING);
});

it("a live event is let through by its labels and its text", () => {
  const event = (more: object): RunEvent => ({ offset: 1, type: "output", time: "", ...more });
  const plan = { ...log.EVERYTHING, stage: ["plan", "1"] };
  expect(log.lets(plan, event({ stage: "plan" }))).toBe(true);
  expect(log.lets(plan, event({ stage: 1 }))).toBe(true);
  expect(log.lets(plan, event({ stage: 2 }))).toBe(false);
  expect(log.lets(plan, event({}))).toBe(false);
  const step = { ...log.EVERYTHING, step: "s", text: "Needle" };
  expect(log.lets(step, event({ step: "s", data: { text: "a needle" } }))).toBe(true);
  expect(log.lets(step, event({ step: "s", data: { text: "hay" } }))).toBe(false);
  expect(log.lets(step, event({ step: "t", data: { text: "a needle" } }))).toBe(false);
});

it("a list's filter is in the address in the words of the API", () => {
  const query =
    "?status=failed&status=paused&tag=a%26b&step_status=failed&workflow=w&text=x&created_after=2026-11-20T00%3A00%3A00Z&input=open";
  expect(runs.queryOf(runs.filterOf(query))).toBe(query);
  expect(runs.queryOf(runs.filterOf("?status=a&status=a&text=&input=shut&who=1"))).toBe(
    "?status=a",
  );
  expect(runs.filterOf("")).toEqual(runs.NO_FILTER);
});

it("each part of a list's filter can be taken away", () => {
  const filter = runs.filterOf("?tag=a&tag=b&workflow=w&input=open&step_status=failed");
  const without = runs.partsOf(filter).map((part) => runs.queryOf(part.without));
  expect(without).toEqual([
    "?tag=a&tag=b&step_status=failed&input=open",
    "?tag=b&step_status=failed&workflow=w&input=open",
    "?tag=a&step_status=failed&workflow=w&input=open",
    "?tag=a&tag=b&workflow=w&input=open",
    "?tag=a&tag=b&step_status=failed&workflow=w",
  ]);
  expect(runs.queryOf(runs.changed(filter, { workflow: "" }))).toBe(without[0]);
});

it("a time is the reader's own in a field, and everybody's in the address", () => {
  const local = runs.localTime("2026-11-20T10:30:00Z");
  expect(local).toMatch(/^2026-11-\d\dT\d\d:\d\d$/);
  expect(runs.timeOf(local)).toBe("2026-11-20T10:30:00.000Z");
  expect(runs.timeOf("")).toBeUndefined();
  expect(runs.localTime(undefined)).toBe("");
});

it("a parameter's value is JSON if it can be, else text", () => {
  const pair = (name: string, value: string) => ({ name, value });
  expect(parametersOf([pair("a", "0.2"), pair(" b ", "small"), pair("", "x")])).toEqual({
    a: 0.2,
    b: "small",
  });
  const hostile = parametersOf([pair("__proto__", '{"x":1}'), pair("c", "")]);
  expect(Object.keys(hostile ?? {})).toEqual(["__proto__", "c"]);
  expect(parametersOf([pair(" ", "x")])).toBeUndefined();
});
