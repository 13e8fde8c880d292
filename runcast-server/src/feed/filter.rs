//! Which entries of the feed a reader wants.

use std::borrow::Cow;

use runcast_event::{EventFilter, Head, Merged, Payload};
use runcast_log::Record;
use runcast_run::Status;
use serde::Deserialize;

use crate::api::Query;
use crate::problem::Problem;
use crate::stored::event_of;

/// The parameters that a reader chooses by; each may be repeated.
pub(crate) const FEED_FIELDS: [&str; 4] = ["workflow", "tag", "status", "type"];
/// The most values of one of them.
const VALUES_MAX: usize = runcast_event::limits::FILTER_VALUES_MAX;

/// Any of the workflows, all of the tags, any of the statuses, any of the types.
#[derive(Debug, Default)]
pub(crate) struct FeedFilter {
    workflows: Vec<String>,
    tags: Vec<String>,
    statuses: Vec<Status>,
    types: EventFilter,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    workflow: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tags: Vec<Cow<'a, str>>,
    status: Option<Status>,
}

impl FeedFilter {
    pub(crate) fn parse(query: &Query<'_>) -> Result<Self, Problem> {
        for field in FEED_FIELDS {
            if query.all(field).count() > VALUES_MAX {
                let detail = format!("is there more than {VALUES_MAX} times");
                return Err(Problem::parameter(field, detail).with("max", VALUES_MAX));
            }
        }
        let refused = |error| Problem::parameter("status", error);
        let statuses: Result<_, _> = query.all("status").map(str::parse).collect();
        let mut types = EventFilter::default();
        for name in query.all("type") {
            let refused = |error: runcast_event::EventError| {
                Problem::parameter("type", error.problem.to_string())
            };
            types.allow("type", name).map_err(refused)?;
        }
        Ok(Self {
            workflows: query.all("workflow").map(str::to_owned).collect(),
            tags: query.all("tag").map(str::to_owned).collect(),
            statuses: statuses.map_err(refused)?,
            types,
        })
    }

    /// Whether it lets every entry through.
    pub(crate) fn is_open(&self) -> bool {
        self.types.is_open() && self.needs_no_data()
    }

    fn needs_no_data(&self) -> bool {
        self.workflows.is_empty() && self.tags.is_empty() && self.statuses.is_empty()
    }

    /// Those of the entries that are wanted.
    pub(crate) fn choose(&self, records: &[Record]) -> Vec<Merged> {
        records.iter().map(event_of).filter(|entry| self.passes(&entry.payload)).collect()
    }

    fn passes(&self, payload: &Payload) -> bool {
        if !self.types.matches(&Head::of(payload)) {
            return false;
        }
        if self.needs_no_data() {
            return true;
        }
        let Ok(Entry { data }) = serde_json::from_slice::<Entry<'_>>(payload.bytes()) else {
            return false;
        };
        let of_workflow = |wanted: &String| data.workflow.as_deref() == Some(wanted);
        (self.workflows.is_empty() || self.workflows.iter().any(of_workflow))
            && self.tags.iter().all(|wanted| data.tags.iter().any(|tag| tag == wanted))
            && (self.statuses.is_empty() || data.status.is_some_and(|s| self.statuses.contains(&s)))
    }
}

#[cfg(test)]
mod tests {
    use runcast_event::RunId;
    use serde_json::json;

    use super::*;

    fn filter(raw: &str) -> Result<FeedFilter, Problem> {
        FeedFilter::parse(&Query::parse(Some(raw), &[], &FEED_FIELDS)?)
    }

    #[test]
    fn an_entry_passes_by_any_workflow_and_status_and_all_tags() {
        let data =
            json!({"workflow": "a\"b", "name": null, "tags": ["x", "y"], "status": "paused"});
        let run = RunId::new("r").unwrap();
        let entry = Payload::feed_entry("run.paused", "1970-01-01T00:00:00Z", &run, &data);
        let passes = |raw: &str| filter(raw).unwrap().passes(&entry);
        for raw in [
            "",
            "type=run.*",
            "type=run.paused&status=paused",
            "tag=x&tag=y",
            "workflow=c&workflow=a%22b",
            "status=failed&status=paused",
        ] {
            assert!(passes(raw), "{raw}");
        }
        for raw in ["type=run.failed", "tag=x&tag=z", "workflow=c", "status=failed"] {
            assert!(!passes(raw), "{raw}");
        }
        assert!(filter("").unwrap().is_open() && !filter("tag=x").unwrap().is_open());
        assert!(filter("status=x").is_err() && filter("type=a%20b").is_err());
        assert!(filter(&vec!["tag=x"; VALUES_MAX + 1].join("&")).is_err());
    }
}
