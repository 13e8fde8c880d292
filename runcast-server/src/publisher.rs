//! Takes batches to the log, whoever brings them: over HTTP in one piece or line by line, or over a
//! WebSocket.
//!
//! What a question and its answer are to each other takes more than a look at the run's state: the
//! question's schema is read here, before the batch is on its way.

use bytes::Bytes;
use runcast_event::{Payload, Reading, RunId};
use runcast_hub::Hub;
use runcast_log::{Append, AppendError, Appended};

use crate::problem::{Code, Problem};
use crate::projection::Projection;
use crate::schema::{self, Schema};

/// The way to the log. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Publisher {
    hub: Hub,
    projection: Projection,
}

/// Why nothing of a batch was stored.
#[derive(Debug)]
pub(crate) struct Unstored {
    pub(crate) problem: Problem,
    /// Which event of the batch it is about, from 1; none when it is about all.
    pub(crate) event: Option<usize>,
}

impl Unstored {
    /// The problem, with the event's place in the batch.
    pub(crate) fn in_batch(self) -> Problem {
        match self.event {
            Some(event) => self.problem.with("event", event),
            None => self.problem,
        }
    }
}

impl From<AppendError> for Unstored {
    fn from(error: AppendError) -> Self {
        let event = match &error {
            AppendError::Refused(refusal) => Some(refusal.event + 1),
            _ => None,
        };
        Self { problem: error.into(), event }
    }
}

impl Publisher {
    pub(crate) fn new(hub: Hub, projection: Projection) -> Self {
        Self { hub, projection }
    }

    /// Appends a batch, and answers when it is durable.
    pub(crate) async fn append(&self, append: Append) -> Result<Appended, Unstored> {
        for (at, event) in append.events.iter().enumerate() {
            let checked = self.check(&append.run, event).await;
            checked.map_err(|problem| Unstored { problem, event: Some(at + 1) })?;
        }
        Ok(self.hub.append(append).await?)
    }

    async fn check(&self, run: &RunId, event: &Bytes) -> Result<(), Problem> {
        if event.starts_with(b"{\"type\":\"input.requested\"") {
            return check_question(&Payload::from_stored(event.clone()));
        }
        if event.starts_with(b"{\"type\":\"input.answered\"") {
            return self.check_answer(run, &Payload::from_stored(event.clone())).await;
        }
        Ok(())
    }

    /// Whether the answer keeps to the question's schema. What is not asked is not decided here.
    async fn check_answer(&self, run: &RunId, event: &Payload) -> Result<(), Problem> {
        let (id, answer) = {
            let event = Reading::of(event);
            let Some(id) = event.text("input") else { return Ok(()) };
            (id.into_owned(), event.field("answer").map(|answer| answer.get().to_owned()))
        };
        let Ok(Some(stat)) = self.hub.stat(run).await else { return Ok(()) };
        let asked = self.projection.look(run, &stat, |state| state.input(&id).cloned()).await?;
        let Some(input) = asked.flatten().filter(runcast_run::Input::is_open) else {
            return Ok(());
        };
        let answer = answer.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
        schema::check_answer(&input, &answer)
    }
}

/// Whether answers can be checked by the question's schema.
fn check_question(event: &Payload) -> Result<(), Problem> {
    let event = Reading::of(event);
    let Some(schema) = event.field("schema") else { return Ok(()) };
    let schema = serde_json::from_str(schema.get()).map_err(|error| error.to_string());
    schema.and_then(|schema| Schema::new(&schema)).map(drop).map_err(|reason| {
        let detail = format!("data.schema {reason}");
        Problem::new(Code::InvalidEvent, detail).with("field", "data.schema")
    })
}
