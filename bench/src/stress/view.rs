//! What a reader asks for, and which events it is to be given for that. Decides anew what the
//! server's filter decides, from the meaning of the words.

use fastrand::Rng;
use serde_json::Value;

/// Choices of events that readers make.
const FILTERS: [&[(&str, &str)]; 10] = [
    &[],
    &[("type", "message.*")],
    &[("type", "test.event")],
    &[("type", "step.*"), ("type", "run.completed")],
    &[("step", "s1"), ("step", "s2")],
    &[("channel", "output")],
    &[("agent", "a1"), ("type", "te*")],
    &[("stage", "2")],
    &[("stage", "build"), ("variation", "v0"), ("variation", "v2")],
    &[("type", "never.*")],
];

/// What one reader asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct View {
    filter: &'static [(&'static str, &'static str)],
    pub(super) coalesces: bool,
}

impl View {
    /// Every event as it is.
    #[cfg(test)]
    pub(super) fn all(coalesces: bool) -> Self {
        Self { filter: &[], coalesces }
    }

    /// Deltas of messages, with nothing of what is between them.
    #[cfg(test)]
    pub(super) fn messages(coalesces: bool) -> Self {
        Self { filter: FILTERS[1], coalesces }
    }

    /// Everything, or a choice.
    pub(super) fn any(rng: &mut Rng) -> Self {
        let filter = if rng.bool() { FILTERS[rng.usize(..FILTERS.len())] } else { &[] };
        Self { filter, coalesces: rng.bool() }
    }

    /// Its parameters in a request, each with `&` in front.
    pub(super) fn query(&self) -> String {
        let filter = self.filter.iter().map(|(field, value)| format!("&{field}={value}"));
        let coalesce = if self.coalesces { "&coalesce=1" } else { "" };
        filter.collect::<String>() + coalesce
    }

    /// Its filter as JSON.
    pub(super) fn filter(&self) -> Value {
        let mut filter = serde_json::Map::new();
        for (field, value) in self.filter {
            let values = filter.entry(*field).or_insert_with(|| Value::Array(Vec::new()));
            values.as_array_mut().into_iter().for_each(|values| values.push((*value).into()));
        }
        filter.into()
    }

    /// Whether an event belongs to it: of each field that it names any value, of all fields each.
    pub(super) fn wants(&self, event: &Value) -> bool {
        let has = |field: &str, wanted: &str| match (&event[field], wanted.strip_suffix('*')) {
            (Value::String(value), Some(begin)) if field == "type" => value.starts_with(begin),
            (Value::String(value), _) => value == wanted,
            (Value::Number(value), _) => value.to_string() == wanted,
            _ => false,
        };
        self.filter.iter().all(|(field, _)| {
            let of_field = self.filter.iter().filter(|(other, _)| other == field);
            of_field.into_iter().any(|(field, value)| has(field, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_view_wants_any_value_of_each_field() {
        let view = |at: usize| View { filter: FILTERS[at], coalesces: false };
        let event = json!({"type": "step.started", "step": "s2", "stage": 2});
        let wanted = (0..FILTERS.len()).filter(|at| view(*at).wants(&event)).collect::<Vec<_>>();
        assert_eq!(wanted, [0, 3, 4, 7]);
        assert_eq!(view(8).query(), "&stage=build&variation=v0&variation=v2");
    }
}
