//! What is asked of the server.

use runcast_event::{Cursor, ProducerId, RunId, Timestamp};
use serde::Serialize;

/// Who appends, and the number of the first event: makes a retry safe.
///
/// A producer numbers its events 0, 1, 2 … within an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// Who.
    pub id: ProducerId,
    /// Its incarnation; a higher one fences lower ones off.
    pub epoch: u64,
    /// The number of the first event of the request.
    pub sequence: u64,
}

/// What defines a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RunDefinition {
    /// Its id; the server makes one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<RunId>,
    /// Which workflow it is a run of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// A name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it can be found by.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Its stages, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<serde_json::Value>,
    /// Its steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<serde_json::Value>,
    /// Its parallel attempts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub variations: Vec<serde_json::Value>,
    /// Anything else about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// How long its events are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<serde_json::Map<String, serde_json::Value>>,
    /// When it must have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// How long its producer may be silent until it counts as lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_after_ms: Option<u64>,
}

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    /// Any of these; all when empty.
    pub statuses: Vec<String>,
    /// Of this workflow.
    pub workflow: Option<String>,
    /// All of these.
    pub tags: Vec<String>,
    /// How many at most, 1 to 1,000; the server's default when absent.
    pub limit: Option<u32>,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// What is asked of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CommandRequest {
    /// `pause`, `resume`, `stop`, `set`, or a name of the run's own.
    pub name: String,
    /// What it is asked with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<serde_json::Value>,
    /// Makes a second request with the same key the same command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it may take until it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum CommandOutcome {
    /// The run has it.
    Delivered,
    /// It is carried out.
    Done,
    /// It is not.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Which open inputs to list.
#[derive(Debug, Clone, Default)]
pub struct InputQuery {
    /// Of runs of this workflow.
    pub workflow: Option<String>,
    /// Of runs with all of these tags.
    pub tags: Vec<String>,
    /// How many at most; the server's default when absent.
    pub limit: Option<u32>,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// Which events to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct PageQuery {
    /// Events after this one.
    pub after: Cursor,
    /// How many at most, 1 to 1,000; the server's default when absent.
    pub limit: Option<u32>,
    /// How long an empty page waits for an event, at most 60,000.
    pub wait_ms: Option<u32>,
}

/// Which entries of the feed to read.
#[derive(Debug, Clone, Default)]
pub struct FeedQuery {
    /// Entries after this one.
    pub after: Cursor,
    /// Of this workflow.
    pub workflow: Option<String>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// How long an empty page waits for an entry, at most 60,000.
    pub wait_ms: Option<u32>,
}

/// Which events of a run a reader wants: any value of each field that is named. All by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Types, or with a `*` at the end the beginnings of types.
    pub types: Vec<String>,
    /// Channels.
    pub channels: Vec<String>,
    /// Variations.
    pub variations: Vec<String>,
    /// Stages, by name or number.
    pub stages: Vec<String>,
    /// Steps.
    pub steps: Vec<String>,
    /// Agents.
    pub agents: Vec<String>,
    /// Whether adjacent deltas of one message, call or output stream come as one event, with the
    /// newest one's offset.
    pub coalesce: bool,
}

impl Choice {
    /// Whether it is every event as it is.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// As the rest of a query, each parameter with an ampersand in front.
    pub(crate) fn query(&self) -> String {
        let fields = [
            ("type", &self.types),
            ("channel", &self.channels),
            ("variation", &self.variations),
            ("stage", &self.stages),
            ("step", &self.steps),
            ("agent", &self.agents),
        ];
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, values) in fields {
            query.extend_pairs(values.iter().map(|value| (name, value)));
        }
        if self.coalesce {
            query.append_pair("coalesce", "1");
        }
        match query.finish() {
            pairs if pairs.is_empty() => pairs,
            pairs => format!("&{pairs}"),
        }
    }
}
