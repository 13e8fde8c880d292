//! Finds the log lines in an output: JSON objects with a `timestamp` and a `level`.

use memchr::memmem;
use runcast_event::Timestamp;
use serde_json::{Map, Value};

/// Where a log line has its message, in the order of preference.
const MESSAGE_FIELDS: [&str; 3] = ["message", "msg", "event"];

/// A log line, as the data of a `log` event.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LogLine {
    /// When it says that it happened, where that can be read.
    pub(super) time: Option<Timestamp>,
    /// `level`, `message`, `logger`, `fields`.
    pub(super) data: Map<String, Value>,
}

/// Whether a line that begins like this may be a log line.
pub(super) fn may_be_log(begun: &[u8]) -> bool {
    begun.trim_ascii_start().starts_with(b"{")
}

impl LogLine {
    /// Reads a line; none when it is no log line.
    pub(super) fn read(line: &str) -> Option<Self> {
        let bytes = line.as_bytes();
        let has = |name: &[u8]| memmem::find(bytes, name).is_some();
        if !may_be_log(bytes) || !has(b"\"timestamp\"") || !has(b"\"level\"") {
            return None;
        }
        let mut fields: Map<String, Value> = serde_json::from_str(line).ok()?;
        let level = match fields.get("level")? {
            Value::String(level) => level.trim().to_lowercase(),
            Value::Number(level) => level.to_string(),
            _ => return None,
        };
        if level.is_empty() || !fields.contains_key("timestamp") {
            return None;
        }
        fields.remove("level");
        let level = if level == "warning" { "warn".to_owned() } else { level };

        let time = fields.get("timestamp").and_then(Value::as_str).and_then(|t| t.parse().ok());
        if time.is_some() {
            fields.remove("timestamp");
        }
        let message = MESSAGE_FIELDS.into_iter().find_map(|name| take_text(&mut fields, name));
        let mut data = Map::new();
        data.insert("level".to_owned(), level.into());
        data.insert("message".to_owned(), message.unwrap_or_default().into());
        if let Some(logger) = take_text(&mut fields, "logger") {
            data.insert("logger".to_owned(), logger.into());
        }
        if !fields.is_empty() {
            data.insert("fields".to_owned(), fields.into());
        }
        Some(Self { time, data })
    }
}

fn take_text(fields: &mut Map<String, Value>, name: &str) -> Option<String> {
    match fields.get_mut(name) {
        Some(Value::String(text)) => {
            let text = std::mem::take(text);
            fields.remove(name);
            Some(text)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn data(line: &str) -> Option<Value> {
        LogLine::read(line).map(|log| log.data.into())
    }

    #[test]
    fn a_log_line_gives_its_time_level_message_logger_and_the_rest() {
        let line = r#"{"timestamp":"2026-11-20T23:16:00+02:00","level":"WARNING","msg":"low","logger":"a.b","n":1}"#;
        let log = LogLine::read(line).unwrap();
        assert_eq!(log.time.unwrap().to_string(), "2026-11-20T21:16:00.000000Z");
        let expected = json!({"level":"warn","message":"low","logger":"a.b","fields":{"n":1}});
        assert_eq!(Value::from(log.data), expected);
    }

    #[test]
    fn a_time_that_cannot_be_read_stays_with_the_fields() {
        let log = LogLine::read(r#"{"timestamp":1732137360,"level":"info","event":"x"}"#).unwrap();
        assert_eq!(log.time, None);
        let expected = json!({"level":"info","message":"x","fields":{"timestamp":1732137360}});
        assert_eq!(Value::from(log.data), expected);
    }

    #[test]
    fn the_first_text_of_message_msg_and_event_is_the_message() {
        let line = r#"{"timestamp":"t","level":"info","message":{"a":1},"msg":"m","event":"e"}"#;
        let fields = json!({"timestamp":"t","message":{"a":1},"event":"e"});
        assert_eq!(data(line), Some(json!({"level":"info","message":"m","fields":fields})));
    }

    #[test]
    fn what_is_not_an_object_with_both_fields_is_no_log_line() {
        for line in [
            "",
            "text",
            "{",
            r#"{"timestamp":"t"}"#,
            r#"{"level":"info"}"#,
            r#"{"timestamp":"t","level":null}"#,
            r#"{"timestamp":"t","level":"info""#,
            r#"{"a":{"timestamp":"t","level":"info"}}"#,
            r#"[{"timestamp":"t","level":"info"}]"#,
            r#"{"timestamp":"t","level":"info"} and more"#,
        ] {
            assert_eq!(data(line), None, "{line}");
        }
    }
}
