//! What a run takes of models: tokens and money.
//!
//! Counted from the field `usage` of the typed events that have one, and from fields of any event but
//! `output` and `log` named `gen_ai.usage.*`, as OpenTelemetry names them. An event says what it took itself, not what
//! its parts took: the run's figures are the sum.

use runcast_event::Reading;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::work::is_zero;

/// The prefix of OpenTelemetry's names.
pub(crate) const PREFIX: &str = "gen_ai.usage.";

const NANOS_A_DOLLAR: f64 = 1e9;
/// The most that is counted: about a million dollars. Up to it a cost is the same as JSON has it.
const COST_NANOS_MAX: u64 = 1 << 50;

/// Tokens and cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens that went in.
    pub input_tokens: u64,
    /// Tokens that came out.
    pub output_tokens: u64,
    /// Of those that went in: read from a cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_read_input_tokens: u64,
    /// Of those that went in: written to a cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_creation_input_tokens: u64,
    /// Of those that came out: thought, not said.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning_tokens: u64,
    /// Cost in billionths of a dollar, so that sums are exact; in JSON `cost_usd`.
    #[serde(
        default,
        rename = "cost_usd",
        serialize_with = "dollars",
        deserialize_with = "nanos",
        skip_serializing_if = "is_zero"
    )]
    pub cost_nanos: u64,
}

impl Usage {
    /// What an event says that it took.
    pub(crate) fn of(event: &Reading<'_>) -> Option<Self> {
        let mut usage = Self::default();
        let mut is_said = false;
        if let Some(object) = event.field("usage")
            && let Ok(fields) =
                serde_json::from_str::<std::collections::BTreeMap<String, &RawValue>>(object.get())
        {
            for (name, value) in fields {
                is_said |= usage.set(name.strip_prefix(PREFIX).unwrap_or(&name), value.get());
            }
        }
        for (name, value) in event.fields() {
            if let Some(name) = name.strip_prefix(PREFIX) {
                is_said |= usage.set(name, value.get());
            }
        }
        is_said.then_some(usage)
    }

    /// Takes one figure over. False if it is none that is counted.
    fn set(&mut self, name: &str, value: &str) -> bool {
        let slot = match name {
            "input_tokens" | "prompt_tokens" => &mut self.input_tokens,
            "output_tokens" | "completion_tokens" => &mut self.output_tokens,
            "cache_read.input_tokens" | "cache_read_input_tokens" => {
                &mut self.cache_read_input_tokens
            }
            "cache_creation.input_tokens" | "cache_creation_input_tokens" => {
                &mut self.cache_creation_input_tokens
            }
            "reasoning.output_tokens" | "reasoning_tokens" => &mut self.reasoning_tokens,
            "cost" | "cost_usd" => {
                let Some(nanos) = value.parse().ok().and_then(nanos_of) else { return false };
                self.cost_nanos = nanos;
                return true;
            }
            _ => return false,
        };
        let Ok(count) = value.parse() else { return false };
        *slot = count;
        true
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.input_tokens, other.input_tokens),
            (&mut self.output_tokens, other.output_tokens),
            (&mut self.cache_read_input_tokens, other.cache_read_input_tokens),
            (&mut self.cache_creation_input_tokens, other.cache_creation_input_tokens),
            (&mut self.reasoning_tokens, other.reasoning_tokens),
            (&mut self.cost_nanos, other.cost_nanos),
        ];
        for (sum, more) in pairs {
            *sum = sum.saturating_add(more);
        }
        self.cost_nanos = self.cost_nanos.min(COST_NANOS_MAX);
    }
}

fn nanos_of(dollars: f64) -> Option<u64> {
    let nanos = (dollars * NANOS_A_DOLLAR).round();
    (dollars.is_finite() && nanos >= 0.0).then_some((nanos as u64).min(COST_NANOS_MAX))
}

fn dollars<S: Serializer>(nanos: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(*nanos as f64 / NANOS_A_DOLLAR)
}

fn nanos<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    nanos_of(f64::deserialize(deserializer)?)
        .ok_or_else(|| serde::de::Error::custom("a cost is a number from 0"))
}

#[cfg(test)]
mod tests {
    use runcast_event::{Timestamp, parse_event};

    use super::*;

    fn usage(json: &str) -> Option<Usage> {
        let payload = parse_event(json.as_bytes(), Timestamp::default()).unwrap().payload;
        Usage::of(&Reading::of(&payload))
    }

    #[test]
    fn figures_are_taken_by_either_name() {
        let expected =
            Usage { input_tokens: 12, output_tokens: 3, cost_nanos: 4_200_000, ..Usage::default() };
        let plain = r#"{"type":"message.completed","data":{"message":"m","usage":{"input_tokens":12,"output_tokens":3,"cost_usd":0.0042,"other":"x"}}}"#;
        assert_eq!(usage(plain), Some(expected));
        let otel = r#"{"type":"my.call","data":{"gen_ai.usage.input_tokens":12,"gen_ai.usage.output_tokens":3,"gen_ai.usage.cost":0.0042}}"#;
        assert_eq!(usage(otel), Some(expected));
        for none in [
            r#"{"type":"my.call","data":{"gen_ai.usage.input_tokens":-1}}"#,
            r#"{"type":"my.call","data":{"usage":[1]}}"#,
            r#"{"type":"my.call","data":{"usage":{"cost":-2}}}"#,
        ] {
            assert_eq!(usage(none), None, "{none}");
        }
        let json = serde_json::to_string(&expected).unwrap();
        assert_eq!(json, r#"{"input_tokens":12,"output_tokens":3,"cost_usd":0.0042}"#);
        assert_eq!(serde_json::from_str::<Usage>(&json).unwrap(), expected);
    }
}
