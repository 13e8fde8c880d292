//! What a message of Redis says as an event of a run. Pure.

use runcast_client::RunDefinition;
use runcast_event::{Draft, Labels, RunId, Stage, Timestamp, parse_event};
use serde_json::{Map, Value, json};

use super::config::{In, InForm};
use super::template::{Caught, at_path, plain};

/// The field of an event's data that says which channel or stream it came from. What came from somewhere
/// is never published there.
pub(super) const ORIGIN: &str = "bridged_from";
/// The field of a stream's entry that says that a bridge has put it there. Such an entry is not read.
pub(super) const MARK: &[u8] = b"runcast";

/// A message as it came.
pub(super) struct Message<'a> {
    /// The channel or stream.
    pub(super) source: &'a str,
    /// What the placeholders of its pattern caught.
    pub(super) caught: Caught,
    pub(super) body: Body<'a>,
    /// When it was said, if its source knows.
    pub(super) time: Option<Timestamp>,
}

/// What it says.
pub(super) enum Body<'a> {
    Bytes(&'a [u8]),
    /// The fields of a stream's entry.
    Fields(&'a [(String, Vec<u8>)]),
}

/// An event on its way to a run.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) run: RunId,
    /// As a line of JSON.
    pub(super) line: bytes::Bytes,
    /// What the run is, if it is to be said before its first event.
    pub(super) definition: Option<RunDefinition>,
}

/// A message with what templates find in it.
struct Reading<'a> {
    mapping: &'a In,
    message: &'a Message<'a>,
    /// What it says as JSON, if it is that.
    json: Option<Value>,
    text: String,
}

/// Makes an event of a message; the error says what of it is not as the mapping has it.
pub(super) fn translate(mapping: &In, message: &Message<'_>) -> Result<Translated, String> {
    let reading = Reading::of(mapping, message)?;
    let draft = match mapping.form {
        InForm::Json => reading.event()?,
        InForm::Output => reading.output(),
        InForm::Log => reading.log(),
        InForm::Status => reading.status()?,
    };
    let run = reading.fill(&mapping.run)?;
    let run = RunId::new(&run).map_err(|error| format!("the run {run:?} {error}"))?;
    let line = draft.to_json();
    // What the server would refuse is known here, before it has a number.
    parse_event(line.as_bytes(), Timestamp::now()).map_err(|error| error.to_string())?;
    let definition = reading.definition(&run)?;
    Ok(Translated { run, line: line.into(), definition })
}

impl<'a> Reading<'a> {
    fn of(mapping: &'a In, message: &'a Message<'a>) -> Result<Self, String> {
        let is_json = mapping.form != InForm::Output;
        let bytes = match (&message.body, &mapping.payload) {
            (Body::Bytes(bytes), _) => *bytes,
            (Body::Fields(fields), Some(payload)) => {
                let field = fields.iter().find(|(name, _)| name == payload);
                field.map(|(_, value)| value.as_slice()).ok_or_else(|| unknown(payload))?
            }
            (Body::Fields(fields), None) => {
                let json = Some(object_of(fields));
                return Ok(Self { mapping, message, json, text: String::new() });
            }
        };
        let json = is_json.then(|| serde_json::from_slice(bytes).ok()).flatten();
        if json.is_none() && mapping.form == InForm::Json {
            return Err("it is not JSON".to_owned());
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        Ok(Self { mapping, message, json, text })
    }

    /// What a template's placeholder means: what the name of the source caught, a field of the message, or
    /// of the entry beside it.
    fn find(&self, name: &str) -> Option<Value> {
        let caught = self.message.caught.iter().find(|(caught, _)| caught == name);
        if let Some((_, text)) = caught {
            return Some(Value::String(text.clone()));
        }
        if let Some(value) = self.json.as_ref().and_then(|json| at_path(json, name)) {
            return Some(value.clone());
        }
        let Body::Fields(fields) = &self.message.body else { return None };
        let field = fields.iter().find(|(field, _)| field == name);
        field.map(|(_, value)| Value::String(String::from_utf8_lossy(value).into_owned()))
    }

    fn fill(&self, template: &super::template::Template) -> Result<String, String> {
        template.fill(|name| self.find(name)).map_err(|name| unknown(&name))
    }

    /// An event of this type with this data, labelled by what is known.
    fn draft(&self, event_type: String, mut data: Map<String, Value>) -> Draft {
        for (field, template) in &self.mapping.fields {
            if let Ok(value) = template.value(|name| self.find(name)) {
                data.entry(field).or_insert(value);
            }
        }
        data.insert(ORIGIN.to_owned(), Value::String(self.message.source.to_owned()));
        let mut draft = Draft::new(event_type, Value::Object(data));
        draft.labels = self.labels();
        draft.time = self.message.time;
        draft
    }

    /// Labels are what the mapping says, else what the source's name caught under their names.
    fn labels(&self) -> Labels {
        let label = |label: &str| {
            let said = self.mapping.labels.iter().find(|(name, _)| name == label);
            let said = said.and_then(|(_, template)| self.fill(template).ok());
            let caught = || self.message.caught.iter().find(|(name, _)| name == label);
            said.or_else(|| caught().map(|(_, text)| text.clone())).filter(|text| !text.is_empty())
        };
        let stage = label("stage").map(|text| match text.parse() {
            Ok(number @ 1..) => Stage::Number(number),
            _ => Stage::Name(text),
        });
        Labels {
            channel: label("channel"),
            variation: label("variation"),
            stage,
            step: label("step"),
            agent: label("agent"),
        }
    }

    fn event(&self) -> Result<Draft, String> {
        let said = self.fill(&self.mapping.event_type)?;
        let event_type = self.type_of(&said)?;
        let json = self.json.as_ref().unwrap_or(&Value::Null);
        let data = match &self.mapping.data {
            Some(path) => at_path(json, path).cloned(),
            None => Some(json.clone()),
        };
        Ok(self.draft(event_type, object(data)))
    }

    fn type_of(&self, said: &str) -> Result<String, String> {
        let Self { mapping, .. } = self;
        match (mapping.types.get(said), &mapping.other) {
            (Some(event_type), _) => Ok(event_type.clone()),
            (None, _) if said.contains('.') => Ok(said.to_owned()),
            (None, Some(front)) => Ok(format!("{front}{said}")),
            (None, None) => Err(format!("its type {said:?} is not among the types of the mapping")),
        }
    }

    fn output(&self) -> Draft {
        let text = match &self.json {
            Some(fields) => at_path(fields, "text").map(plain).unwrap_or_default(),
            None => self.text.clone(),
        };
        self.draft("output".to_owned(), object(Some(json!({ "text": text }))))
    }

    fn log(&self) -> Draft {
        let mut data = Map::new();
        let mut rest = match &self.json {
            Some(Value::Object(fields)) => fields.clone(),
            _ => Map::new(),
        };
        let text = |value: Value| plain(&value);
        let level = rest.remove("level").map(text).filter(|level| !level.is_empty());
        let message = rest.remove("message").or_else(|| rest.remove("msg")).map(text);
        data.insert("level".to_owned(), level.unwrap_or_else(|| "info".to_owned()).into());
        match message {
            Some(message) => {
                data.insert("message".to_owned(), message.into());
                if let Some(logger) = rest.remove("logger") {
                    data.insert("logger".to_owned(), plain(&logger).into());
                }
                if !rest.is_empty() {
                    data.insert("fields".to_owned(), Value::Object(rest));
                }
            }
            None => {
                let text = if self.text.is_empty() {
                    Value::Object(rest).to_string()
                } else {
                    self.text.trim_end().to_owned()
                };
                data.insert("message".to_owned(), text.into());
            }
        }
        self.draft("log".to_owned(), data)
    }

    fn status(&self) -> Result<Draft, String> {
        let (word, rest) = match &self.json {
            Some(Value::Object(fields)) => {
                let mut rest = fields.clone();
                let word = rest.remove("status").ok_or_else(|| unknown("status"))?;
                (plain(&word), rest)
            }
            Some(Value::String(word)) => (word.clone(), Map::new()),
            _ => (self.text.trim().to_owned(), Map::new()),
        };
        let own = self.mapping.types.get(&word).map(String::as_str);
        let event_type = own.or_else(|| life_cycle(&word));
        let event_type = event_type.ok_or_else(|| format!("its status {word:?} is not known"))?;
        Ok(self.draft(event_type.to_owned(), rest))
    }

    fn definition(&self, run: &RunId) -> Result<Option<RunDefinition>, String> {
        let Some(define) = &self.mapping.define else { return Ok(None) };
        let workflow = define.workflow.as_ref().map(|workflow| self.fill(workflow)).transpose()?;
        Ok(Some(RunDefinition {
            id: Some(run.clone()),
            workflow,
            tags: define.tags.clone(),
            stages: define.stages.iter().cloned().map(Value::String).collect(),
            ..RunDefinition::default()
        }))
    }
}

fn unknown(name: &str) -> String {
    format!("it does not say {name:?}")
}

/// What a word for how a run stands makes of it.
fn life_cycle(word: &str) -> Option<&'static str> {
    Some(match word {
        "pending" | "queued" => "run.queued",
        "running" | "started" => "run.started",
        "paused" => "run.paused",
        "resumed" => "run.resumed",
        "completed" => "run.completed",
        "failed" => "run.failed",
        "cancelled" => "run.cancelled",
        "timed_out" => "run.timed_out",
        "crashed" => "run.crashed",
        _ => return None,
    })
}

/// The word for how a run stands that an event of its life makes.
pub(super) fn status_word(event_type: &str) -> Option<&str> {
    match event_type {
        "run.queued" => Some("pending"),
        "run.started" | "run.resumed" => Some("running"),
        "run.updated" => None,
        other => other.strip_prefix("run."),
    }
}

fn object(data: Option<Value>) -> Map<String, Value> {
    match data {
        Some(Value::Object(fields)) => fields,
        None | Some(Value::Null) => Map::new(),
        Some(other) => Map::from_iter([("value".to_owned(), other)]),
    }
}

/// The fields of an entry as an object: those that are objects or arrays of JSON as such, others as text.
fn object_of(fields: &[(String, Vec<u8>)]) -> Value {
    let value = |bytes: &[u8]| match bytes.first() {
        Some(b'{' | b'[') => serde_json::from_slice(bytes).ok(),
        _ => None,
    };
    let fields = fields.iter().map(|(name, bytes)| {
        let text = || Value::String(String::from_utf8_lossy(bytes).into_owned());
        (name.clone(), value(bytes).unwrap_or_else(text))
    });
    Value::Object(fields.collect())
}

#[cfg(test)]
mod tests;
