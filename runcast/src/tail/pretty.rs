//! Events for people: a time, what happened, and the output as it was printed.
//!
//! The text of `output` and `message.delta` goes out raw, with its line ends, `\r` and ANSI
//! sequences, so that a run looks as it would in a terminal, and that of `tool.args` in one line. All
//! other text is made harmless.

use std::borrow::Cow;
use std::io::{self, Write};

use runcast_event::{Event, Labels, Stage, Timestamp};
use serde_json::Value;

use crate::palette::{Palette, Tone};
use crate::report::printable;

/// The longest summary of an event, in characters; the rest is in `--output json`.
const SUMMARY_CHARS_MAX: usize = 300;

/// Writes events, and knows whether a line of output is under way.
pub(crate) struct Pretty {
    palette: Palette,
    zone: jiff::tz::TimeZone,
    /// The source of the output whose line has not ended yet.
    open_line: Option<String>,
}

impl Pretty {
    pub(crate) fn new(palette: Palette) -> Self {
        Self { palette, zone: jiff::tz::TimeZone::system(), open_line: None }
    }

    #[cfg(test)]
    fn plain_in_utc() -> Self {
        Self { palette: Palette::plain(), zone: jiff::tz::TimeZone::UTC, open_line: None }
    }

    /// Writes one event.
    pub(crate) fn write(&mut self, event: &Event, out: &mut impl Write) -> io::Result<()> {
        let data = event.data_value();
        let field = |name| data.get(name).and_then(Value::as_str);
        if let Some(text) = field("text") {
            let (source, text) = match event.event_type.as_str() {
                "output" => (field("stream"), Cow::Borrowed(text)),
                "message.delta" => (field("message"), Cow::Borrowed(text)),
                "tool.args" => (field("call"), Cow::Owned(printable(text))),
                _ => return self.summary(event, &data, out),
            };
            return self.raw(event, source.unwrap_or_default(), &text, out);
        }
        self.summary(event, &data, out)
    }

    /// Writes an event on a line of its own.
    fn summary(&mut self, event: &Event, data: &Value, out: &mut impl Write) -> io::Result<()> {
        self.end_line(out)?;
        let time = self.time(event.time);
        let (tone, head, text) = describe(event, data);
        let mut line = format!("{time} {}", self.palette.paint(tone, &head));
        let labels = label_text(&event.labels);
        if !labels.is_empty() {
            line.push(' ');
            line.push_str(&self.palette.paint(Tone::Strong, &labels));
        }
        if !text.is_empty() {
            line.push(' ');
            line.push_str(&text);
        }
        writeln!(out, "{line}")
    }

    /// Ends the line of output that is under way, if one is.
    pub(crate) fn end_line(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.open_line.take().is_some() {
            let reset = if self.palette.is_on() { "\x1b[0m" } else { "" };
            writeln!(out, "{reset}")?;
        }
        Ok(())
    }

    /// Writes output as it was printed, a time in front of each line.
    fn raw(
        &mut self,
        event: &Event,
        source: &str,
        text: &str,
        out: &mut impl Write,
    ) -> io::Result<()> {
        if self.open_line.as_ref().is_some_and(|open| open != source) {
            self.end_line(out)?;
        }
        for line in text.split_inclusive('\n') {
            if self.open_line.is_none() {
                write!(out, "{} ", self.time(event.time))?;
            }
            out.write_all(line.as_bytes())?;
            self.open_line = if line.ends_with('\n') { None } else { Some(source.to_owned()) };
        }
        Ok(())
    }

    fn time(&self, time: Timestamp) -> String {
        let moment = jiff::Timestamp::from_microsecond(time.as_micros()).unwrap_or_default();
        let clock = moment.to_zoned(self.zone.clone()).strftime("%H:%M:%S%.3f").to_string();
        self.palette.paint(Tone::Dim, &clock)
    }
}

/// An event's tone, its first word and the rest of its line.
fn describe(event: &Event, data: &Value) -> (Tone, String, String) {
    let name = event.event_type.as_str();
    if name == "log" {
        let level = data.get("level").and_then(Value::as_str).unwrap_or_default();
        let message = data.get("message").and_then(Value::as_str).unwrap_or_default();
        let fields = data.get("fields").and_then(Value::as_object);
        let fields = fields.filter(|fields| !fields.is_empty());
        let fields = fields.map(|fields| Value::Object(fields.clone()).to_string());
        let text = match fields {
            Some(fields) => format!("{message} {fields}"),
            None => message.to_owned(),
        };
        return (level_tone(level), printable(&level.to_uppercase()), shortened(&text));
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    let tone = match last {
        "completed" | "done" | "answered" => Tone::Good,
        "failed" | "crashed" | "timed_out" | "refused" | "gap" => Tone::Bad,
        "cancelled" | "paused" | "retrying" | "skipped" => Tone::Warning,
        "started" | "called" | "spawned" | "resumed" | "requested" => Tone::Active,
        _ => Tone::Plain,
    };
    let text = match data {
        Value::Null => String::new(),
        Value::Object(fields) if fields.is_empty() => String::new(),
        Value::Object(fields) => {
            let pairs = fields.iter().filter(|(_, value)| !value.is_null());
            pairs
                .map(|(name, value)| format!("{name}={}", compact(value)))
                .collect::<Vec<_>>()
                .join(" ")
        }
        other => compact(other),
    };
    (tone, name.to_owned(), shortened(&text))
}

/// A value without quotes where none are needed to see its end.
fn compact(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && !text.contains([' ', '"', '=']) => text.clone(),
        other => other.to_string(),
    }
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(SUMMARY_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    printable(&short)
}

fn label_text(labels: &Labels) -> String {
    let stage = labels.stage.as_ref().map(|stage| match stage {
        Stage::Number(number) => format!("stage {number}"),
        Stage::Name(name) => name.clone(),
    });
    let parts = [labels.variation.clone(), labels.agent.clone(), stage, labels.step.clone()];
    parts.into_iter().flatten().collect::<Vec<_>>().join("/")
}

fn level_tone(level: &str) -> Tone {
    match level.to_ascii_lowercase().as_str() {
        "error" | "critical" | "fatal" => Tone::Bad,
        "warn" | "warning" => Tone::Warning,
        "debug" | "trace" => Tone::Dim,
        _ => Tone::Active,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(events: &[&str]) -> String {
        let mut pretty = Pretty::plain_in_utc();
        let mut out = Vec::new();
        for (at, rest) in events.iter().enumerate() {
            let time = format!("2026-11-20T21:16:00.{at:03}999Z");
            let json = format!(r#"{{"offset":{},"time":"{time}",{rest}}}"#, at + 1);
            let event = Event::from_json(json.as_bytes()).unwrap();
            pretty.write(&event, &mut out).unwrap();
        }
        pretty.end_line(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn output_is_raw_with_a_time_in_front_of_each_line() {
        let shown = shown(&[
            r#""type":"output","data":{"text":"a\nb","stream":"stdout"}"#,
            r#""type":"output","data":{"text":"c \u001b[31mred\u001b[0m\n","stream":"stdout"}"#,
            r#""type":"message.delta","data":{"message":"m","text":"Hel"}"#,
            r#""type":"message.delta","data":{"message":"m","text":"lo"}"#,
            r#""type":"output","data":{"text":"err\n","stream":"stderr"}"#,
        ]);
        let expected = "21:16:00.000 a\n21:16:00.000 bc \u{1b}[31mred\u{1b}[0m\n\
            21:16:00.002 Hello\n21:16:00.004 err\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn other_events_are_one_line_each_and_cannot_order_the_terminal_about() {
        let shown = shown(&[
            r#""type":"message.delta","data":{"message":"m","text":"open"}"#,
            r#""type":"log","data":{"level":"warn","message":"a\u001b[2Jb\nc","fields":{"n":1}}"#,
            r#""type":"step.completed","stage":2,"step":"fetch","data":{"duration_ms":812,"output":null}"#,
            r#""type":"run.completed""#,
            r#""type":"my.event","data":{"q":"two words","k":"one"}"#,
        ]);
        let expected = "21:16:00.000 open\n21:16:00.001 WARN a [2Jb c {\"n\":1}\n\
            21:16:00.002 step.completed stage 2/fetch duration_ms=812\n\
            21:16:00.003 run.completed\n\
            21:16:00.004 my.event k=one q=\"two words\"\n";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_long_event_is_shortened() {
        let data = format!(r#""type":"my.event","data":"{}""#, "x".repeat(1_000));
        assert!(shown(&[&data]).chars().count() < SUMMARY_CHARS_MAX + 40);
    }
}
