//! The JSON Schema of an answer: whether it may be one, and whether an answer keeps to it.
//!
//! A schema comes from a producer and is applied to what a person sends, so both are strangers'. What
//! a check costs is bounded: a schema is small when its references are followed, refers to nothing
//! outside of itself, and its patterns are matched in linear time.

use std::collections::HashMap;

use jsonschema::{Draft, PatternOptions, Validator};
use runcast_run::Input;
use serde_json::{Value, json};

use crate::problem::{Code, Problem};

/// The most bytes of a schema.
pub(crate) const SCHEMA_BYTES_MAX: usize = 64 * 1024;
/// The most values in a schema, each counted as often as references lead to it.
pub(crate) const SCHEMA_VALUES_MAX: u64 = 10_000;
/// The most memory of a compiled pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 256 * 1024;
/// The most violations that an answer is told of.
const VIOLATIONS_MAX: usize = 8;

/// A schema that answers can be checked by: draft 2020-12 unless it names another.
pub(crate) struct Schema(Validator);

impl Schema {
    /// Takes a schema.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(crate) fn new(schema: &Value) -> Result<Self, String> {
        let bytes = schema.to_string().len();
        if bytes > SCHEMA_BYTES_MAX {
            return Err(format!("has {bytes} bytes; at most {SCHEMA_BYTES_MAX} are allowed"));
        }
        let mut measure = Measure { root: schema, known: HashMap::new() };
        if measure.of(schema)? > SCHEMA_VALUES_MAX {
            return Err(format!(
                "has more than {SCHEMA_VALUES_MAX} values when its references are followed"
            ));
        }
        let patterns =
            PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
        let mut options = jsonschema::options().offline().with_pattern_options(patterns);
        if schema.get("$schema").is_none() {
            options = options.with_draft(Draft::Draft202012);
        }
        let validator = options.build(schema);
        validator.map(Self).map_err(|error| match error.instance_path().as_str() {
            "" => format!("is not a JSON Schema: {error}"),
            path => format!("is not a JSON Schema at {path}: {error}"),
        })
    }

    /// Checks an answer.
    ///
    /// # Errors
    /// Where the answer breaks the schema, and how: the first few places.
    pub(crate) fn check(&self, answer: &Value) -> Result<(), Vec<Violation>> {
        let broken = self.0.iter_errors(answer).take(VIOLATIONS_MAX);
        let violations: Vec<_> = broken
            .map(|error| Violation {
                at: error.instance_path().as_str().to_owned(),
                detail: error.masked().to_string(),
            })
            .collect();
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }
}

/// Where an answer breaks a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// A JSON pointer into the answer; empty for the whole of it.
    pub(crate) at: String,
    /// How.
    pub(crate) detail: String,
}

/// Whether the answer keeps to the input's schema.
pub(crate) fn check_answer(input: &Input, answer: &Value) -> Result<(), Problem> {
    let Some(schema) = &input.schema else { return Ok(()) };
    // It was checked when the run asked.
    let Ok(schema) = Schema::new(&schema.value()) else { return Ok(()) };
    schema.check(answer).map_err(|violations| {
        let told = violations.iter().map(|found| match found.at.as_str() {
            "" => found.detail.clone(),
            at => format!("{at}: {}", found.detail),
        });
        let detail = format!(
            "the answer is not what was asked for: {}",
            told.collect::<Vec<_>>().join("; ")
        );
        let places = violations.iter().map(|found| json!({"at": found.at, "detail": found.detail}));
        Problem::new(Code::InvalidAnswer, detail).with("violations", places.collect::<Value>())
    })
}

/// Counts the values of a schema, following its references.
struct Measure<'a> {
    root: &'a Value,
    /// What a reference leads to; none while it is being counted.
    known: HashMap<&'a str, Option<u64>>,
}

impl<'a> Measure<'a> {
    fn of(&mut self, value: &'a Value) -> Result<u64, String> {
        let mut sum = 1_u64;
        match value {
            Value::Array(values) => {
                for value in values {
                    sum = sum.saturating_add(self.of(value)?);
                }
            }
            Value::Object(members) => {
                for (name, value) in members {
                    sum = sum.saturating_add(match (name.as_str(), value) {
                        ("$ref", Value::String(to)) => self.behind(to)?,
                        ("$dynamicRef" | "$recursiveRef" | "$id" | "$anchor", Value::String(_)) => {
                            return Err(format!(
                                "has {name}; only $ref to a place in the same schema is supported"
                            ));
                        }
                        _ => self.of(value)?,
                    });
                }
            }
            _ => {}
        }
        Ok(sum)
    }

    fn behind(&mut self, to: &'a str) -> Result<u64, String> {
        match self.known.get(to) {
            Some(Some(count)) => return Ok(*count),
            Some(None) => {
                return Err(format!("has a $ref to {to} that leads back to itself"));
            }
            None => {}
        }
        let place = to.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        let Some(place) = place else {
            return Err(format!(
                "has a $ref to {to}, which is no place in it; one is written #/$defs/name"
            ));
        };
        self.known.insert(to, None);
        let count = self.of(place)?;
        self.known.insert(to, Some(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(schema: &Value, answer: &Value) -> Vec<String> {
        let found = Schema::new(schema).unwrap().check(answer).err().unwrap_or_default();
        found.into_iter().map(|Violation { at, detail }| format!("{at}: {detail}")).collect()
    }

    #[test]
    fn an_answer_is_told_where_it_breaks_the_schema() {
        let schema = json!({"type": "object", "required": ["ok"], "additionalProperties": false,
            "properties": {"ok": {"type": "boolean"}, "why": {"$ref": "#/$defs/text"}},
            "$defs": {"text": {"type": "string", "maxLength": 3, "pattern": "^a+$"}}});
        assert_eq!(violations(&schema, &json!({"ok": true, "why": "aa"})), [""; 0]);
        assert_eq!(
            violations(&schema, &json!({"ok": 1}))[0],
            "/ok: value is not of type \"boolean\""
        );
        assert_eq!(violations(&schema, &json!({}))[0], ": \"ok\" is a required property");
        assert_eq!(violations(&schema, &json!({"ok": true, "why": "aaaa"})).len(), 1);
        let many: Value = (0..100).map(|n| json!(n)).collect();
        let texts = json!({"items": {"type": "string"}});
        assert_eq!(violations(&texts, &many).len(), VIOLATIONS_MAX);
    }

    #[test]
    fn what_cannot_be_a_schema_is_refused_with_the_reason() {
        let doubled = |n: usize| json!({"allOf": [{"$ref": format!("#/$defs/{n}")}, {"$ref": format!("#/$defs/{n}")}]});
        let defs: serde_json::Map<_, _> = (0..40)
            .map(|n| (n.to_string(), if n == 39 { json!({}) } else { doubled(n + 1) }))
            .collect();
        let mut bomb = doubled(0);
        bomb["$defs"] = defs.into();
        for (schema, reason) in [
            (json!({"type": "strin"}), "is not a JSON Schema at /type"),
            (json!(7), "is not a JSON Schema"),
            (json!({"pattern": "(a"}), "is not a JSON Schema"),
            (json!({"pattern": "(a{1000}){1000}"}), "is not a JSON Schema"),
            (json!({"$ref": "https://example.com/a"}), "has a $ref to https://example.com/a"),
            (json!({"$ref": "#/$defs/a"}), "has a $ref to #/$defs/a, which is no place"),
            (json!({"items": {"$ref": "#"}}), "has a $ref to # that leads back"),
            (json!({"$id": "a", "$ref": "b"}), "has $id"),
            (json!({"enum": ["x".repeat(SCHEMA_BYTES_MAX)]}), "has 65549 bytes"),
            (bomb, "has more than 10000 values"),
        ] {
            let refused = Schema::new(&schema).err().unwrap();
            assert!(refused.starts_with(reason), "{refused}");
        }
    }

    #[test]
    fn a_pattern_takes_no_longer_for_a_text_that_was_made_to_take_long() {
        let schema = json!({"pattern": "^(a+)+$"});
        assert_eq!(violations(&schema, &json!("a".repeat(50_000) + "b")).len(), 1);
    }
}
