import type { Input } from "@runcast/core";
import { expect, it } from "vitest";
import { fill, formOf, initialValues, placed } from "../src/input/form.ts";

const AT = "2026-11-20T21:16:00Z";
const input = (more: Partial<Input>): Input => ({
  input: "i",
  status: "open",
  requested_at: AT,
  ...more,
});
const SCHEMA = {
  type: "object",
  required: ["name", "count", "size"],
  properties: {
    name: { type: "string", title: "Your name", description: "As on the door", maxLength: 20 },
    count: { type: "integer", minimum: 1, maximum: 9, default: 3 },
    ratio: { type: "number" },
    isUrgent: { type: "boolean", default: true },
    size: { enum: ["small", "large", 3] },
    "a/b~c": { type: "array" },
    story: { type: "string", maxLength: 4_000 },
  },
};

it("an object of simple values is a form with its titles, bounds and defaults", () => {
  const form = formOf(input({ schema: SCHEMA }));
  if (form.kind !== "fields") throw new Error("no fields");
  expect(form.fields.map(({ at, label, kind }) => [at, label, kind.kind])).toEqual([
    ["/name", "Your name", "text"],
    ["/count", "count", "number"],
    ["/ratio", "ratio", "number"],
    ["/isUrgent", "isUrgent", "boolean"],
    ["/size", "size", "choice"],
    ["/a~1b~0c", "a/b~c", "json"],
    ["/story", "story", "text"],
  ]);
  expect(form.fields[0]).toMatchObject({ description: "As on the door", isRequired: true });
  expect(form.fields[1]?.kind).toEqual({ kind: "number", isWhole: true, min: 1, max: 9 });
  expect(initialValues(form)).toMatchObject({ "/count": "3", "/isUrgent": "true", "/size": "" });
});

it("the run's default fills the form before the schema's do", () => {
  const form = formOf(input({ schema: SCHEMA, default: { count: 7, size: 3 } }));
  expect(initialValues(form)).toMatchObject({ "/count": "7", "/size": "2", "/isUrgent": "true" });
});

it("what was filled in is the answer, with what was left out left out", () => {
  const form = formOf(input({ schema: SCHEMA }));
  const values = { "/name": "Ada", "/count": "2", "/size": "2", "/a~1b~0c": "[1]" };
  expect(fill(form, { ...initialValues(form), ...values })).toEqual({
    kind: "answer",
    answer: { name: "Ada", count: 2, isUrgent: true, size: 3, "a/b~c": [1] },
  });
});

it("what cannot be read is said at its field, before it is sent", () => {
  const form = formOf(input({ schema: SCHEMA }));
  const values = { "/count": "2.5", "/ratio": "much", "/size": "0", "/a~1b~0c": "[1" };
  const filled = fill(form, values);
  if (filled.kind !== "faults") throw new Error("no faults");
  expect(Object.keys(filled.faults)).toEqual(["/name", "/count", "/ratio", "/a~1b~0c"]);
  expect(filled.faults["/name"]).toBe("This is needed");
  expect(filled.faults["/count"]).toBe("This is not a whole number");
});

it("what the server finds wrong is said at the field that has it", () => {
  const form = formOf(input({ schema: SCHEMA }));
  const violations = [
    { at: "/count", detail: "is more than 9" },
    { at: "/a~1b~0c/0", detail: "is not a text" },
    { at: "", detail: "name is required" },
    { at: "/other", detail: "is too much" },
    { at: 3 },
  ];
  expect(placed(form, violations)).toEqual({
    "/count": "is more than 9",
    "/a~1b~0c": "/0 is not a text",
    "": "name is required; /other is too much",
  });
  expect(placed(form, "nothing")).toEqual({});
});

it("a schema beyond the form is a field for JSON, one simple value is one field", () => {
  const alone = (schema: Record<string, unknown>, more: Partial<Input> = {}) => {
    const form = formOf(input({ schema, ...more }));
    return form.kind === "fields" && !form.isObject ? form.fields[0]?.kind.kind : "object";
  };
  expect(alone({ anyOf: [{ type: "string" }] })).toBe("json");
  expect(alone({ type: "array" })).toBe("json");
  expect(alone({ type: "object", properties: {} })).toBe("json");
  expect(alone({ type: "object", properties: SCHEMA.properties, oneOf: [] })).toBe("json");
  expect(alone({ type: "integer" })).toBe("number");
  expect(alone({ enum: ["a"] })).toBe("choice");
  expect(alone(SCHEMA)).toBe("object");
  const number = formOf(input({ schema: { type: "integer" }, default: 4 }));
  expect(fill(number, initialValues(number))).toEqual({ kind: "answer", answer: 4 });
});

it("without schema and choices the answer is a text", () => {
  const form = formOf(input({}));
  expect(fill(form, { "": "as it was typed\n" })).toEqual({
    kind: "answer",
    answer: "as it was typed\n",
  });
  expect(fill(form, {})).toEqual({ kind: "answer", answer: "" });
  expect(formOf(input({ choices: ["yes", "no"] }))).toEqual({
    kind: "choices",
    choices: ["yes", "no"],
  });
});

it("a field may have any name", () => {
  const properties = JSON.parse('{"__proto__":{"type":"string"}}') as object;
  const form = formOf(input({ schema: { type: "object", properties } }));
  const filled = fill(form, { "/__proto__": "x" });
  expect(JSON.stringify(filled)).toBe('{"kind":"answer","answer":{"__proto__":"x"}}');
});
