//! What a run is, as its producer declares it.

use runcast_event::{Reading, Timestamp, readable_text};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json::Json;

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
    /// The stages that it will go through: an array, or the name of a list that is built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stages: Option<Json>,
    /// The steps that it will take: an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Json>,
    /// Its parallel attempts: an array.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variations: Option<Json>,
    /// Anything else that its producer wants to keep with it: an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Json>,
    /// How long its events are to be kept: an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Json>,
    /// When it must have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// After how many milliseconds of silence its producer counts as lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_after_ms: Option<u64>,
}

impl Definition {
    /// Reads what an event says of the definition; other fields are passed over.
    pub(crate) fn of(event: &Reading<'_>) -> Self {
        let text = |name: &str| event.text(name).map(std::borrow::Cow::into_owned);
        // As large as an event may be, and so bounded.
        let value = |name: &str| Json::fitting(event.field(name)?, usize::MAX).0;
        let tags = || {
            let items: Vec<&RawValue> = serde_json::from_str(event.field("tags")?.get()).ok()?;
            let text = |item: &RawValue| readable_text(item).map(std::borrow::Cow::into_owned);
            items.into_iter().map(text).collect()
        };
        Self {
            workflow: text("workflow"),
            name: text("name"),
            tags: tags(),
            stages: value("stages"),
            steps: value("steps"),
            variations: value("variations"),
            metadata: value("metadata"),
            retention: value("retention"),
            deadline: event.time("deadline"),
            lost_after_ms: event.count("lost_after_ms"),
        }
    }

    /// Bytes of what the event says of the definition and is not in it, because no reader could read
    /// it.
    pub(crate) fn left_out(&self, event: &Reading<'_>) -> u64 {
        let values = [
            ("stages", &self.stages),
            ("steps", &self.steps),
            ("variations", &self.variations),
            ("metadata", &self.metadata),
            ("retention", &self.retention),
        ];
        let missing = values.iter().filter(|(_, kept)| kept.is_none());
        missing.map(|(name, _)| event.field(name).map_or(0, |raw| raw.get().len() as u64)).sum()
    }

    /// Whether it says anything.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
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
        take(&mut self.lost_after_ms, newer.lost_after_ms);
    }
}
