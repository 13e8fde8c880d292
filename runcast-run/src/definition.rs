//! What a run is, as its producer declares it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use runcast_event::Timestamp;

/// A run's definition: the body of `POST /v1/runs`, and in the data of `run.queued`,
/// `run.started` and `run.updated`. Whatever is absent is left as it was.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// What kind of run it is: the name that its runs share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the run can be found by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// The stages that it will go through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stages: Option<Vec<Value>>,
    /// The steps that it will take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<Value>>,
    /// Its parallel attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variations: Option<Vec<Value>>,
    /// Anything else that its producer wants to keep with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// How long its events are to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Map<String, Value>>,
    /// When it must have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
}

impl Definition {
    /// Reads what an event's data says of the definition; other fields are passed over.
    pub(crate) fn from_data(data: &Value) -> Self {
        fn field<T: serde::de::DeserializeOwned>(data: &Value, name: &str) -> Option<T> {
            data.get(name).and_then(|value| T::deserialize(value).ok())
        }
        Self {
            workflow: field(data, "workflow"),
            name: field(data, "name"),
            tags: field(data, "tags"),
            stages: field(data, "stages"),
            steps: field(data, "steps"),
            variations: field(data, "variations"),
            metadata: field(data, "metadata"),
            retention: field(data, "retention"),
            deadline: field(data, "deadline"),
        }
    }

    /// Takes over what `newer` declares.
    pub(crate) fn update(&mut self, newer: Self) {
        fn take<T>(slot: &mut Option<T>, newer: Option<T>) {
            if newer.is_some() {
                *slot = newer;
            }
        }
        take(&mut self.workflow, newer.workflow);
        take(&mut self.name, newer.name);
        take(&mut self.tags, newer.tags);
        take(&mut self.stages, newer.stages);
        take(&mut self.steps, newer.steps);
        take(&mut self.variations, newer.variations);
        take(&mut self.metadata, newer.metadata);
        take(&mut self.retention, newer.retention);
        take(&mut self.deadline, newer.deadline);
    }
}
