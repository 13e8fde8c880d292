/**
 * What a person fills in to answer an input, made of what the run asked for; and the answer, made of
 * what was filled in. Pure. A form holds text only, as its fields do.
 *
 * Of JSON Schema it knows what most questions need: an object of texts, numbers, booleans and
 * choices, or one of these alone. Anything else is a field for JSON. The server checks every answer
 * against the whole schema.
 */

import type { Input } from "@runcast/core";

export type Kind =
  | {
      readonly kind: "text";
      readonly isLong: boolean;
      readonly min?: number;
      readonly max?: number;
    }
  | {
      readonly kind: "number";
      readonly isWhole: boolean;
      readonly min?: number;
      readonly max?: number;
    }
  | { readonly kind: "boolean" }
  | { readonly kind: "choice"; readonly values: readonly unknown[] }
  | { readonly kind: "json" };

export interface Field {
  /** A JSON pointer into the answer; empty if the field is all of it. */
  readonly at: string;
  readonly name: string;
  readonly label: string;
  readonly description?: string;
  readonly isRequired: boolean;
  readonly kind: Kind;
  readonly initial: string;
}

export type Form =
  | { readonly kind: "choices"; readonly choices: readonly string[] }
  | { readonly kind: "fields"; readonly isObject: boolean; readonly fields: readonly Field[] };

export type Values = Readonly<Record<string, string>>;
/** What is wrong, by the place of its field; an empty place is the whole answer. */
export type Faults = Readonly<Record<string, string>>;

export type Filled =
  | { readonly kind: "answer"; readonly answer: unknown }
  | { readonly kind: "faults"; readonly faults: Faults };

type Schema = Readonly<Record<string, unknown>>;

/** An object with more is a field for JSON. */
const FIELDS_MAX = 40;
/** A text that may be longer has more than a line. */
const LINE_CHARS_MAX = 120;
/** What the form cannot show as fields. */
const BEYOND = [
  "$ref",
  "allOf",
  "anyOf",
  "oneOf",
  "not",
  "if",
  "patternProperties",
  "dependentSchemas",
];

export function formOf(input: Input): Form {
  if (input.choices && input.choices.length > 0) return { kind: "choices", choices: input.choices };
  const schema = input.schema;
  if (!schema) {
    const kind = { kind: "text", isLong: true } as const;
    return alone({ kind, initial: textOf(kind, input.default), label: "Answer" });
  }
  const fields = fieldsOf(schema, input.default);
  if (fields) return { kind: "fields", isObject: true, fields };
  const kind = kindOf(schema);
  const given = input.default === undefined ? schema.default : input.default;
  const description = textIn(schema, "description");
  return alone({
    kind,
    initial: textOf(kind, given),
    label: textIn(schema, "title") ?? (kind.kind === "json" ? "Answer, as JSON" : "Answer"),
    ...(description === undefined ? {} : { description }),
  });
}

export function initialValues(form: Form): Values {
  if (form.kind === "choices") return {};
  return Object.fromEntries(form.fields.map((field) => [field.at, field.initial]));
}

/** The answer, or what is wrong with the fields. */
export function fill(form: Form, values: Values): Filled {
  if (form.kind === "choices") return { kind: "answer", answer: values[""] };
  const faults: Record<string, string> = {};
  const answer: [string, unknown][] = [];
  for (const field of form.fields) {
    const text = values[field.at] ?? "";
    if (text === "" && field.kind.kind !== "boolean") {
      // A text may be empty where it is all of the answer; the server knows whether it may.
      if (!form.isObject && field.kind.kind === "text") answer.push([field.name, ""]);
      else if (field.isRequired) faults[field.at] = "This is needed";
      continue;
    }
    const read = readValue(field.kind, text);
    if ("fault" in read) faults[field.at] = read.fault;
    else answer.push([field.name, read.value]);
  }
  if (Object.keys(faults).length > 0) return { kind: "faults", faults };
  // Not an assignment: a field may be called __proto__.
  const whole = form.isObject ? Object.fromEntries(answer) : answer[0]?.[1];
  return { kind: "answer", answer: whole };
}

/** The server's faults, each at the field that has it. */
export function placed(form: Form, violations: unknown): Faults {
  const faults: Record<string, string> = {};
  const places = form.kind === "fields" ? form.fields.map((field) => field.at) : [];
  for (const violation of Array.isArray(violations) ? violations : []) {
    const { at, detail } = violation as { at?: unknown; detail?: unknown };
    if (typeof at !== "string" || typeof detail !== "string") continue;
    const place = places.find((it) => it !== "" && (at === it || at.startsWith(`${it}/`))) ?? "";
    const said = place === at ? detail : `${at.slice(place.length)} ${detail}`.trim();
    faults[place] = faults[place] === undefined ? said : `${faults[place]}; ${said}`;
  }
  return faults;
}

function fieldsOf(schema: Schema, given: unknown): readonly Field[] | undefined {
  const { properties } = schema;
  const isPlain = schema.type === "object" && isObject(properties) && isWithin(schema);
  if (!isPlain) return undefined;
  const names = Object.keys(properties);
  if (names.length === 0 || names.length > FIELDS_MAX) return undefined;
  const required = Array.isArray(schema.required) ? schema.required : [];
  return names.map((name): Field => {
    const property = isObject(properties[name]) ? properties[name] : {};
    const kind = kindOf(property);
    const own = isObject(given) && Object.hasOwn(given, name) ? given[name] : property.default;
    const description = textIn(property, "description");
    return {
      at: `/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`,
      name,
      label: textIn(property, "title") ?? name,
      ...(description === undefined ? {} : { description }),
      isRequired: required.includes(name),
      kind,
      initial: textOf(kind, own),
    };
  });
}

function kindOf(schema: Schema): Kind {
  if (!isWithin(schema)) return { kind: "json" };
  if (Array.isArray(schema.enum)) return { kind: "choice", values: schema.enum };
  if (schema.const !== undefined) return { kind: "choice", values: [schema.const] };
  switch (schema.type) {
    case "string": {
      const bounds = boundsOf(schema, "minLength", "maxLength");
      return { kind: "text", isLong: (bounds.max ?? 0) > LINE_CHARS_MAX, ...bounds };
    }
    case "number":
    case "integer": {
      const bounds = boundsOf(schema, "minimum", "maximum");
      return { kind: "number", isWhole: schema.type === "integer", ...bounds };
    }
    case "boolean":
      return { kind: "boolean" };
    default:
      return { kind: "json" };
  }
}

function readValue(kind: Kind, text: string): { value: unknown } | { fault: string } {
  switch (kind.kind) {
    case "text":
      return { value: text };
    case "boolean":
      return { value: text === "true" };
    case "choice":
      return { value: kind.values[Number(text)] };
    case "number": {
      const number = Number(text);
      if (!Number.isFinite(number)) return { fault: "This is not a number" };
      if (kind.isWhole && !Number.isInteger(number)) return { fault: "This is not a whole number" };
      return { value: number };
    }
    case "json":
      try {
        return { value: JSON.parse(text) as unknown };
      } catch (error) {
        return { fault: `This is not JSON: ${error instanceof Error ? error.message : ""}` };
      }
  }
}

/** A value as the text of its field; one that does not fit the field is no text. */
function textOf(kind: Kind, value: unknown): string {
  if (value === undefined) return "";
  switch (kind.kind) {
    case "text":
      return typeof value === "string" ? value : JSON.stringify(value);
    case "number":
      return typeof value === "number" ? String(value) : "";
    case "boolean":
      return value === true ? "true" : "";
    case "choice": {
      const at = kind.values.findIndex((it) => JSON.stringify(it) === JSON.stringify(value));
      return at === -1 ? "" : String(at);
    }
    case "json":
      return JSON.stringify(value, null, 2);
  }
}

function alone(field: Pick<Field, "kind" | "initial" | "label" | "description">): Form {
  const whole = { at: "", name: "", isRequired: true, ...field };
  return { kind: "fields", isObject: false, fields: [whole] };
}

function boundsOf(schema: Schema, min: string, max: string): { min?: number; max?: number } {
  const bound = (name: string) => (typeof schema[name] === "number" ? schema[name] : undefined);
  const [least, most] = [bound(min), bound(max)];
  return {
    ...(least === undefined ? {} : { min: least }),
    ...(most === undefined ? {} : { max: most }),
  };
}

function isWithin(schema: Schema): boolean {
  return BEYOND.every((word) => schema[word] === undefined);
}

function isObject(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function textIn(schema: Schema, name: string): string | undefined {
  const value = schema[name];
  return typeof value === "string" && value !== "" ? value : undefined;
}
