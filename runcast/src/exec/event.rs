//! Makes the events of a run that is a process: lines of JSON, each valid.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use runcast_event::{Draft, Event, Labels, Offset, Payload, Timestamp, parse_event};
use serde_json::{Map, Value, json};

use super::intake::Source;
use super::outcome::Ending;
use super::redact::Secrets;
use super::sort::Piece;

/// How much of a command is published: characters of all arguments together.
const COMMAND_CHARS_MAX: usize = 16 * 1024;
/// The most arguments that are published.
const ARGUMENTS_MAX: usize = 256;
/// The most characters of a command that names its run.
const NAME_CHARS_MAX: usize = 60;
/// How much of a line that is no event is quoted.
const QUOTE_CHARS_MAX: usize = 200;

/// What a run's first event says.
#[derive(Debug, Clone, Default)]
pub(super) struct Definition {
    pub(super) workflow: Option<String>,
    pub(super) name: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) command: Vec<OsString>,
    /// The run whose process started this one.
    pub(super) parent: Option<String>,
    /// How long exec may be silent until the run counts as crashed.
    pub(super) lost_after: Duration,
}

/// Makes events.
#[derive(Debug, Clone)]
pub(super) struct EventMaker {
    labels: Labels,
    secrets: Arc<Secrets>,
}

/// What a line of the events pipe is.
#[derive(Debug)]
pub(super) enum FromChild {
    /// An event to publish.
    Event(Bytes),
    /// The run's end, as the child sees it: for later.
    End(Box<Event>),
}

impl EventMaker {
    /// Labels every event with `variation`.
    pub(super) fn new(variation: Option<String>, secrets: Arc<Secrets>) -> Self {
        Self { labels: Labels { variation, ..Labels::default() }, secrets }
    }

    /// The run's first event. `pid` is none when the command could not be started.
    pub(super) fn started(&self, definition: &Definition, pid: Option<u32>) -> String {
        let mut chars_left = COMMAND_CHARS_MAX;
        let shown = |argument: &OsString| {
            let text = self.secrets.redact(argument.as_encoded_bytes());
            let text = shorten(&String::from_utf8_lossy(&text), chars_left);
            chars_left = chars_left.saturating_sub(text.chars().count());
            text
        };
        let command: Vec<String> =
            definition.command.iter().take(ARGUMENTS_MAX).map(shown).collect();
        let name = definition.name.clone().unwrap_or_else(|| name_of(&command));
        let mut data = Map::new();
        if let Some(workflow) = &definition.workflow {
            data.insert("workflow".to_owned(), json!(workflow));
        }
        data.insert("name".to_owned(), json!(name));
        data.insert("tags".to_owned(), json!(definition.tags));
        data.insert("command".to_owned(), json!(command));
        if let Some(pid) = pid {
            data.insert("pid".to_owned(), json!(pid));
        }
        let host = rustix::system::uname();
        data.insert("host".to_owned(), json!(host.nodename().to_string_lossy()));
        if let Ok(directory) = std::env::current_dir() {
            data.insert("cwd".to_owned(), json!(directory.to_string_lossy()));
        }
        let lost_after_ms = u64::try_from(definition.lost_after.as_millis()).unwrap_or(u64::MAX);
        data.insert("lost_after_ms".to_owned(), json!(lost_after_ms));
        if let Some(parent) = &definition.parent {
            data.insert("metadata".to_owned(), json!({ "parent_run": parent }));
        }
        self.line("run.started", data.into(), Timestamp::now())
    }

    /// Output or a log line.
    pub(super) fn piece(&self, source: Source, piece: Piece, read_at: Timestamp) -> Bytes {
        let (text, replaced_bytes) = match piece {
            Piece::Text { text, replaced_bytes } => (text, replaced_bytes),
            Piece::Log(log, line) => {
                let event = self.line("log", log.data.into(), log.time.unwrap_or(read_at));
                if parse_event(event.as_bytes(), read_at).is_ok() {
                    return event.into();
                }
                // Too deep, or a level with control characters: output like any other.
                (line, 0)
            }
        };
        let stream = if source == Source::Stderr { "stderr" } else { "stdout" };
        let mut data = Map::new();
        data.insert("text".to_owned(), text.into());
        data.insert("stream".to_owned(), stream.into());
        if replaced_bytes > 0 {
            data.insert("replaced_bytes".to_owned(), replaced_bytes.into());
        }
        self.line("output", data.into(), read_at).into()
    }

    /// A line that the child has written to the events pipe. What is wrong with it is told in the
    /// run's log, and nowhere else.
    pub(super) fn child_line(&self, line: &[u8], read_at: Timestamp) -> FromChild {
        let line = self.secrets.redact(line);
        let prepared = match parse_event(&line, read_at) {
            Ok(prepared) => prepared,
            Err(error) => {
                let quote = shorten(&String::from_utf8_lossy(&line), QUOTE_CHARS_MAX);
                let problem = format!("an event in RUNCAST_EVENTS is not valid: {error}: {quote}");
                return FromChild::Event(self.warning(&problem, read_at));
            }
        };
        if prepared.terminal
            && let Ok(end) = prepared.payload.parse(Offset::default())
        {
            return FromChild::End(Box::new(end));
        }
        FromChild::Event(self.labelled(&prepared.payload))
    }

    /// An event that says what exec did with the run.
    pub(super) fn control(&self, event_type: &'static str, data: Value) -> Bytes {
        self.line(event_type, data, Timestamp::now()).into()
    }

    /// A problem that the run's readers should know.
    pub(super) fn warning(&self, message: &str, at: Timestamp) -> Bytes {
        let data = json!({ "level": "warn", "logger": "runcast", "message": message });
        self.line("log", data, at).into()
    }

    /// The run's last event: the child's own, if it sent one, with how the process ended.
    pub(super) fn ended(&self, ending: &Ending, from_child: Option<&Event>) -> Bytes {
        let now = Timestamp::now();
        let Some(end) = from_child else {
            return self.line(ending.event_type(), ending.data().into(), now).into();
        };
        let mut data = match end.data_value() {
            Value::Object(data) => data,
            _ => Map::new(),
        };
        for (field, value) in ending.data() {
            // What the child says about why stands; what the system knows about how is added.
            if matches!(field.as_str(), "exit_code" | "signal") || !data.contains_key(&field) {
                data.insert(field, value);
            }
        }
        let mut labels = end.labels.clone();
        labels.variation = labels.variation.or_else(|| self.labels.variation.clone());
        let draft = Draft {
            event_type: end.event_type.clone().into(),
            time: Some(now),
            labels,
            data: Some(data.into()),
        };
        draft.to_json().into()
    }

    fn line(&self, event_type: &'static str, data: Value, time: Timestamp) -> String {
        let labels = self.labels.clone();
        Draft { event_type: event_type.into(), time: Some(time), labels, data: Some(data) }
            .to_json()
    }

    /// The event with this run's variation, unless it names one.
    fn labelled(&self, payload: &Payload) -> Bytes {
        let Some(variation) = &self.labels.variation else { return payload.bytes().clone() };
        let event = payload.parse(Offset::default());
        if event.is_ok_and(|event| event.labels.variation.is_some()) {
            return payload.bytes().clone();
        }
        let mut line = format!("{{\"variation\":{},", json!(variation)).into_bytes();
        line.extend_from_slice(&payload.bytes()[1..]);
        line.into()
    }
}

/// A name for a run that has none: its command, on one line.
fn name_of(command: &[String]) -> String {
    let words = command.join(" ");
    let line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let name = shorten(line.trim(), NAME_CHARS_MAX);
    if name.is_empty() { "?".to_owned() } else { name }
}

fn shorten(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maker(variation: Option<&str>) -> EventMaker {
        EventMaker::new(variation.map(str::to_owned), Arc::default())
    }

    fn value(line: &[u8]) -> Value {
        parse_event(line, Timestamp::default()).unwrap();
        serde_json::from_slice(line).unwrap()
    }

    #[test]
    fn every_event_carries_the_variation_and_the_childs_own_label_wins() {
        let maker = maker(Some("b"));
        let time = Timestamp::default();
        let text = Piece::Text { text: "x".to_owned(), replaced_bytes: 2 };
        let event = value(&maker.piece(Source::Stderr, text, time));
        assert_eq!(event["variation"], "b");
        assert_eq!(event["data"], json!({"text":"x","stream":"stderr","replaced_bytes":2}));
        for (line, variation) in [
            (r#"{"type":"my.event","data":{"variation":"c"}}"#, "b"),
            (r#"{"type":"my.event","variation":"a"}"#, "a"),
        ] {
            let FromChild::Event(event) = maker.child_line(line.as_bytes(), time) else {
                panic!("{line}")
            };
            assert_eq!(value(&event)["variation"], variation);
        }
    }

    #[test]
    fn a_wrong_line_becomes_a_warning_that_names_the_problem() {
        let FromChild::Event(event) = maker(None).child_line(b"{\"type\":1}", Timestamp::default())
        else {
            panic!("an end")
        };
        let event = value(&event);
        assert_eq!((&event["type"], &event["data"]["level"]), (&json!("log"), &json!("warn")));
        let message = event["data"]["message"].as_str().unwrap();
        assert!(message.contains("type must be a string, is a number"), "{message}");
    }

    #[test]
    fn an_end_from_the_child_keeps_its_type_and_data_and_gets_the_exit_code() {
        let line = br#"{"type":"run.failed","data":{"error":"why","exit_code":99}}"#;
        let FromChild::End(end) = maker(Some("v")).child_line(line, Timestamp::default()) else {
            panic!("no end")
        };
        let event = value(&maker(Some("v")).ended(&Ending::Exited { code: 3 }, Some(&end)));
        assert_eq!(event["type"], "run.failed");
        assert_eq!(event["variation"], "v");
        assert_eq!(event["data"], json!({"error":"why","exit_code":3}));
    }

    #[test]
    fn the_first_event_is_valid_for_any_command_and_has_no_secret() {
        let secrets = Secrets::of([("A_TOKEN".into(), "topsecret".into())].into_iter());
        let maker = EventMaker::new(None, Arc::new(secrets));
        let mut command: Vec<OsString> = vec!["sh".into(), "-c".into(), "topsecret\n".into()];
        command.extend((0..100).map(|_| OsString::from("\u{1}é".repeat(10_000))));
        let definition = Definition { command, ..Definition::default() };
        let line = maker.started(&definition, Some(7));
        let event = value(line.as_bytes());
        assert_eq!(event["data"]["command"][2], "[redacted:A_TOKEN]\n");
        assert!(event["data"]["name"].as_str().unwrap().starts_with("sh -c [redacted:A_TOKEN]"));
        assert!(!line.contains("topsecret"));
    }
}
