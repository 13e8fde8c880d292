//! The typed events: which there are, and what each must carry.
//!
//! One table, read by the validator and by nobody else. A field that the table does not name passes
//! through unchanged, so that a producer can add what it likes; a field that it does name has that
//! type or the event is refused.

use crate::error::{EventError, EventProblem};
use crate::label::check_name;
use crate::limits;

/// The type of an event: a typed one of the catalogue or a custom dotted name.
#[derive(Debug, Clone, Copy)]
pub struct EventType {
    pub(crate) name: &'static str,
    /// Labels that must be there.
    pub(crate) labels: &'static [&'static str],
    pub(crate) fields: &'static [Field],
    /// The channel of an event that names none.
    pub(crate) channel: &'static str,
    /// Whether it ends the run.
    pub(crate) terminal: bool,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) required: bool,
}

/// What a field of `data` must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    /// A short text that names something: not empty, no control characters.
    Name,
    Count,
    Integer,
    /// A number from 0 to 1.
    Fraction,
    Object,
    /// A text, or an object for structured errors.
    TextOrObject,
    Texts,
    Array,
    /// A run's stages: an array, or the name of a list that is built in.
    Stages,
    Tags,
    Time,
    /// An object with bounds of what is kept of a run.
    Retention,
    Any,
}

/// What a run can ask to be kept of itself at most.
pub(crate) const RETENTION_FIELDS: [&str; 4] =
    ["keep_ended_s", "events_max", "bytes_max", "age_max_s"];

const fn need(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, required: true }
}

const fn may(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, required: false }
}

const fn typed(
    name: &'static str,
    channel: &'static str,
    labels: &'static [&'static str],
    fields: &'static [Field],
) -> EventType {
    EventType { name, labels, fields, channel, terminal: false }
}

const fn terminal(name: &'static str, fields: &'static [Field]) -> EventType {
    EventType { name, labels: &[], fields, channel: "status", terminal: true }
}

use Kind::{
    Any, Array, Count, Fraction, Integer, Name, Object, Retention, Stages, Tags, Text,
    TextOrObject, Texts, Time,
};

/// What defines a run: sent with `POST /v1/runs`, or in the data of its first event.
const DEFINITION: &[Field] = &[
    may("workflow", Name),
    may("name", Name),
    may("tags", Tags),
    may("stages", Stages),
    may("steps", Array),
    may("variations", Array),
    may("metadata", Object),
    may("retention", Retention),
    may("deadline", Time),
    may("lost_after_ms", Count),
    may("progress", Fraction),
    may("status_reason", Text),
];

const ENDED: &[Field] = &[
    may("exit_code", Integer),
    may("signal", Name),
    may("status_reason", Text),
    may("error", TextOrObject),
    may("output", Any),
    may("usage", Object),
];

/// How a variation began or ended.
const VARIATION: &[Field] = &[
    may("name", Name),
    may("duration_ms", Count),
    may("exit_code", Integer),
    may("signal", Name),
    may("error", TextOrObject),
    may("output", Any),
];

const STAGE: &[Field] = &[may("name", Name), may("duration_ms", Count), may("error", TextOrObject)];
const STEP: &[Field] = &[
    may("name", Name),
    may("duration_ms", Count),
    may("attempt", Count),
    may("error", TextOrObject),
    may("input", Any),
    may("output", Any),
    may("reason", Text),
    may("delay_ms", Count),
    may("parent", Name),
    may("usage", Object),
];
const TASK: &[Field] = &[
    need("task", Name),
    may("progress", Fraction),
    may("message", Text),
    may("result", Any),
    may("error", TextOrObject),
    may("duration_ms", Count),
    may("usage", Object),
];
const COMMAND: &[Field] = &[
    need("command", Name),
    may("name", Name),
    may("args", Any),
    may("by", Text),
    may("reason", Text),
];
const DOCUMENT: &[Field] = &[
    need("document", Name),
    may("name", Text),
    may("progress", Fraction),
    may("bytes", Count),
    may("error", TextOrObject),
];

/// Every typed event, sorted by name.
const CATALOGUE: &[EventType] = &[
    typed(
        "agent.spawned",
        "status",
        &["agent"],
        &[may("name", Text), may("role", Text), may("model", Text), may("parent", Text)],
    ),
    typed("command.delivered", "control", &[], COMMAND),
    typed("command.done", "control", &[], COMMAND),
    typed("command.expired", "control", &[], &[need("command", Name), may("reason", Text)]),
    typed(
        "command.refused",
        "control",
        &[],
        &[need("command", Name), need("reason", Text), may("by", Text)],
    ),
    typed(
        "command.requested",
        "control",
        &[],
        &[
            need("command", Name),
            need("name", Name),
            may("args", Any),
            may("by", Text),
            may("key", Name),
            may("reason", Text),
            may("timeout_ms", Count),
        ],
    ),
    typed("document.completed", "status", &[], DOCUMENT),
    typed("document.failed", "status", &[], DOCUMENT),
    typed("document.processing", "status", &[], DOCUMENT),
    typed("document.upload_started", "status", &[], DOCUMENT),
    typed(
        "input.answered",
        "control",
        &[],
        &[need("input", Name), need("answer", Any), may("by", Text)],
    ),
    typed(
        "input.requested",
        "control",
        &[],
        &[
            need("input", Name),
            need("prompt", Text),
            may("choices", Texts),
            may("schema", Object),
            may("default", Any),
            may("timeout_ms", Count),
        ],
    ),
    typed("input.timed_out", "control", &[], &[need("input", Name), may("answer", Any)]),
    typed(
        "log",
        "logs",
        &[],
        &[need("level", Name), need("message", Text), may("logger", Text), may("fields", Object)],
    ),
    typed(
        "message.completed",
        "output",
        &[],
        &[need("message", Name), may("text", Text), may("usage", Object)],
    ),
    typed("message.delta", "output", &[], &[need("message", Name), need("text", Text)]),
    typed("message.started", "output", &[], &[need("message", Name), may("role", Text)]),
    typed(
        "output",
        "output",
        &[],
        &[need("text", Text), may("stream", Name), may("replaced_bytes", Count)],
    ),
    typed(
        "producer.gap",
        "status",
        &[],
        &[need("lost_events", Count), need("reason", Text), may("lost_bytes", Count)],
    ),
    terminal("run.cancelled", ENDED),
    terminal("run.completed", ENDED),
    terminal("run.crashed", ENDED),
    terminal("run.failed", ENDED),
    typed("run.paused", "status", &[], &[may("status_reason", Text)]),
    typed("run.queued", "status", &[], DEFINITION),
    typed("run.resumed", "status", &[], &[may("status_reason", Text)]),
    typed("run.started", "status", &[], DEFINITION),
    terminal("run.timed_out", ENDED),
    typed("run.updated", "status", &[], DEFINITION),
    typed("stage.completed", "status", &["stage"], STAGE),
    typed("stage.failed", "status", &["stage"], STAGE),
    typed("stage.started", "status", &["stage"], STAGE),
    typed("step.completed", "status", &["step"], STEP),
    typed("step.failed", "status", &["step"], STEP),
    typed(
        "step.progress",
        "status",
        &["step"],
        &[
            may("progress", Fraction),
            may("current", Count),
            may("total", Count),
            may("message", Text),
        ],
    ),
    typed("step.retrying", "status", &["step"], STEP),
    typed("step.skipped", "status", &["step"], STEP),
    typed("step.started", "status", &["step"], STEP),
    typed("task.completed", "status", &[], TASK),
    typed("task.failed", "status", &[], TASK),
    typed("task.progress", "status", &[], TASK),
    typed("tool.args", "output", &[], &[need("call", Name), need("text", Text)]),
    typed(
        "tool.called",
        "output",
        &[],
        &[need("call", Name), need("tool", Name), may("args", Any)],
    ),
    typed(
        "tool.completed",
        "output",
        &[],
        &[need("call", Name), may("result", Any), may("duration_ms", Count), may("usage", Object)],
    ),
    typed(
        "tool.failed",
        "output",
        &[],
        &[
            need("call", Name),
            may("error", TextOrObject),
            may("duration_ms", Count),
            may("usage", Object),
        ],
    ),
    typed("variation.completed", "status", &["variation"], VARIATION),
    typed("variation.failed", "status", &["variation"], VARIATION),
    typed("variation.started", "status", &["variation"], VARIATION),
];

/// First words whose events make a run's state: a misspelt one must not pass as a custom event.
const RESERVED: &[&str] = &["run", "stage", "step", "input", "command", "variation"];

impl EventType {
    /// The typed event of this name.
    pub(crate) fn typed(name: &str) -> Option<&'static Self> {
        CATALOGUE.binary_search_by(|entry| entry.name.cmp(name)).ok().map(|at| &CATALOGUE[at])
    }
}

/// Whether an event of this type ends its run.
#[must_use]
pub fn is_terminal(name: &str) -> bool {
    EventType::typed(name).is_some_and(|entry| entry.terminal)
}

/// Whether this is one of the typed events, whose data is validated.
#[must_use]
pub fn is_typed(name: &str) -> bool {
    EventType::typed(name).is_some()
}

/// Finds the rules for a type, or none for a custom one.
pub(crate) fn resolve(name: &str) -> Result<Option<&'static EventType>, EventError> {
    let invalid = |message: String| EventError::new("type", EventProblem::Invalid(message));
    if let Some(entry) = EventType::typed(name) {
        return Ok(Some(entry));
    }
    check_name("type", name, limits::TYPE_CHARS_MAX)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if let Some(bad) = name.chars().find(|c| !allowed(*c)) {
        return Err(invalid(format!("has {bad:?}; allowed are A-Z a-z 0-9 . _ -")));
    }
    let Some((first, _)) = name.split_once('.') else {
        return Err(invalid(format!(
            "{name:?} is not a typed event; a custom type has a dot, such as \"my.{name}\""
        )));
    };
    if name.split('.').any(str::is_empty) {
        return Err(invalid(format!("{name:?} has an empty part beside a dot")));
    }
    if RESERVED.contains(&first) {
        let prefix = format!("{first}.");
        let names: Vec<_> =
            CATALOGUE.iter().map(|e| e.name).filter(|n| n.starts_with(&prefix)).collect();
        return Err(invalid(format!(
            "{name:?} is not a typed event, and {prefix}* is reserved for: {}",
            names.join(", ")
        )));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_sorted_by_name() {
        assert!(CATALOGUE.is_sorted_by(|a, b| a.name < b.name));
    }

    /// The event's row in docs/events.md: required things in bold.
    fn row(entry: &EventType) -> String {
        let word = |kind: Kind| match kind {
            Kind::Text => "string",
            Kind::Name => "name",
            Kind::Count => "whole number from 0",
            Kind::Integer => "whole number",
            Kind::Fraction => "0 to 1",
            Kind::Object | Kind::Retention => "object",
            Kind::TextOrObject => "string or object",
            Kind::Texts => "strings",
            Kind::Array => "array",
            Kind::Stages => "array or built-in list",
            Kind::Tags => "tags",
            Kind::Time => "time",
            Kind::Any => "any",
        };
        let labels = entry.labels.iter().map(|label| format!("label **{label}**"));
        let fields = entry.fields.iter().map(|field| match field.required {
            true => format!("**{}** {}", field.name, word(field.kind)),
            false => format!("{} {}", field.name, word(field.kind)),
        });
        let needs: Vec<_> = labels.chain(fields).collect();
        format!("| `{}` | `{}` | {} |", entry.name, entry.channel, needs.join(", "))
    }

    #[test]
    fn the_documentation_has_every_typed_event_as_it_is() {
        let document = include_str!("../../docs/events.md");
        let missing: Vec<_> =
            CATALOGUE.iter().map(row).filter(|row| !document.contains(row)).collect();
        assert!(missing.is_empty(), "docs/events.md lacks:\n{}", missing.join("\n"));
    }

    #[test]
    fn a_dotted_name_is_custom_and_a_bare_or_reserved_one_is_refused() {
        assert!(resolve("my.event").unwrap().is_none());
        assert!(resolve("kb.Upload-started_2").unwrap().is_none());
        assert!(resolve("run.completed").unwrap().is_some_and(|e| e.terminal));
        for name in ["", "outptu", "run.complete", "a..b", ".a", "a.", "a b.c", "a\n.b"] {
            assert!(resolve(name).is_err(), "{name:?}");
        }
        assert!(resolve(&format!("a.{}", "b".repeat(63))).is_err());
    }
}
