//! What an event of a run says as a message for Redis. Pure.

use runcast_event::{Event, RunId, Stage};
use serde_json::{Map, Value, json};

use super::config::{Out, OutForm};
use super::template::at_path;
use super::translate::{ORIGIN, status_word};

/// A message on its way to a channel or a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rendered {
    /// The channel or stream.
    pub(super) target: String,
    /// What it says: named parts for a stream, of which a channel gets one, or all as an object.
    pub(super) fields: Vec<(String, String)>,
    pub(super) payload: String,
}

/// Makes a message of an event. None if the mapping has none for it: it names what the event does not say,
/// or the event came from there.
pub(super) fn render(
    mapping: &Out,
    run: &RunId,
    workflow: Option<&str>,
    event: &Event,
) -> Option<Rendered> {
    let data = event.data_value();
    let find = |name: &str| find(mapping, run, workflow, event, &data, name);
    let target = mapping.place.name().fill(find).ok()?;
    if data.get(ORIGIN).and_then(Value::as_str) == Some(&target) {
        return None;
    }
    if !mapping.message.is_empty() {
        let mut message = Map::new();
        for (name, template) in &mapping.message {
            message.insert(name.clone(), template.value(find).unwrap_or(Value::Null));
        }
        let fields = message.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        return Some(Rendered { target, fields, payload: Value::Object(message).to_string() });
    }
    let (name, payload) = match mapping.form {
        OutForm::Event => {
            let mut whole = serde_json::to_value(event).ok()?;
            whole["run"] = json!(run);
            ("event", whole.to_string())
        }
        OutForm::Text => {
            let said = data.get("text").or_else(|| data.get("message"))?;
            ("text", said.as_str()?.to_owned())
        }
        OutForm::Status => ("status", status_word(&event.event_type)?.to_owned()),
    };
    Some(Rendered { target, fields: vec![(name.to_owned(), payload.clone())], payload })
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        other => super::template::plain(other),
    }
}

/// What a template's placeholder means.
fn find(
    mapping: &Out,
    run: &RunId,
    workflow: Option<&str>,
    event: &Event,
    data: &Value,
    name: &str,
) -> Option<Value> {
    let labels = &event.labels;
    let label = |label: &Option<String>| label.clone().map(Value::String);
    match name {
        "run" => Some(json!(run)),
        "workflow" => workflow.map(Value::from),
        "type" => {
            let own = mapping.names.get(&event.event_type);
            Some(Value::from(own.unwrap_or(&event.event_type).as_str()))
        }
        "offset" => Some(json!(event.offset)),
        "time" => Some(json!(event.time)),
        "channel" => label(&labels.channel),
        "variation" => label(&labels.variation),
        "step" => label(&labels.step),
        "agent" => label(&labels.agent),
        "stage" => match &labels.stage {
            Some(Stage::Number(number)) => Some(json!(number)),
            Some(Stage::Name(name)) => Some(json!(name)),
            None => None,
        },
        "data" => Some(data.clone()),
        name => at_path(data, name.strip_prefix("data.")?).cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::config;

    fn mapping(preset: &str) -> Out {
        config::read(None, &[], &[preset.to_owned()]).unwrap().outs.remove(0)
    }

    fn event(json: &str) -> Event {
        let front = r#"{"offset":7,"time":"2026-01-01T00:00:00Z","#;
        Event::from_json(format!("{front}{json}}}").as_bytes()).unwrap()
    }

    fn payload(preset: &str, json: &str) -> Option<(String, String)> {
        let run = RunId::new("r").unwrap();
        let rendered = render(&mapping(preset), &run, Some("w"), &event(json))?;
        Some((rendered.target, rendered.payload))
    }

    #[test]
    fn events_leave_under_the_names_that_existing_systems_use() {
        let stage = r#""type":"stage.started","stage":"plan","data":{"name":"Plan"}"#;
        let (target, message) = payload("workflow-events", stage).unwrap();
        assert_eq!(target, "workflow:w:execution:r");
        let message: Value = serde_json::from_str(&message).unwrap();
        let expected = json!({"workflow_id": "w", "execution_id": "r", "event_type": "stage_start",
            "data": {"name": "Plan"}});
        assert_eq!(message, expected);
        let output = r#""type":"output","variation":"v","data":{"text":"hello\n"}"#;
        let expected = ("run:r:output:v".to_owned(), "hello\n".to_owned());
        assert_eq!(payload("run-output", output), Some(expected));
        let ended = payload("run-status", r#""type":"run.completed""#).unwrap();
        assert_eq!(ended, ("run:r:status".to_owned(), "completed".to_owned()));
    }

    #[test]
    fn what_the_mapping_has_no_message_for_is_left_out() {
        let none = [
            ("run-output", r#""type":"output","data":{"text":"no variation"}"#),
            ("run-status", r#""type":"run.updated""#),
        ];
        for (preset, json) in none {
            assert_eq!(payload(preset, json), None, "{json}");
        }
    }

    #[test]
    fn what_came_from_a_channel_never_goes_back_there() {
        let from = |source: &str| {
            let data = json!({"text": "x", ORIGIN: source});
            payload("run-output", &format!(r#""type":"output","variation":"v","data":{data}"#))
        };
        assert_eq!(from("run:r:output:v"), None);
        assert!(from("run:r:output:other").is_some());
    }
}
