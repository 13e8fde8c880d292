//! Appends events to a run.

use axum::extract::{Request, State};
use axum::http::HeaderName;
use axum::http::request::Parts;
use axum::response::Response;
use runcast_event::{
    BatchError, Offset, Prepared, ProducerId, RunId, Timestamp, limits, parse_batch,
};
use runcast_log::{Append, Appended, ProducerStamp};

use super::body::{BodyReader, read_whole};
use super::description::{AppendedBody, EventBody, ProblemBody};
use super::intake;
use super::parameters::{MediaType, Query, RunPath, header_text};
use super::{Services, Shared, json};
use crate::problem::{Code, Place, Problem};
use crate::publisher::Unstored;
use crate::transport::answer;

const PRODUCER_ID: HeaderName = HeaderName::from_static("producer-id");
const PRODUCER_EPOCH: HeaderName = HeaderName::from_static("producer-epoch");
const PRODUCER_SEQ: HeaderName = HeaderName::from_static("producer-seq");

/// Where events go, and under which conditions.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) run: RunId,
    pub(crate) create: bool,
    pub(crate) expected_last: Option<Offset>,
    pub(crate) producer: Option<ProducerStamp>,
}

impl Target {
    fn parse(run: RunId, parts: &Parts) -> Result<Self, Problem> {
        let query = Query::parse(parts.uri.query(), &["create", "expected_offset"], &[])?;
        let create = query.switch("create")?.unwrap_or(true);
        let expected = query.number("expected_offset", 0..=Offset::MAX.get())?;
        let producer = producer(parts)?;
        Ok(Self { run, create, expected_last: expected.map(Offset::new), producer })
    }

    /// The batch that a JSON text is: one event, or an array of events.
    pub(crate) fn append(&self, json: &[u8], now: Timestamp) -> Result<Append, Problem> {
        let refused = |error: BatchError| Problem::of_batch(&error, Place::Event);
        let events = parse_batch(json, now).map_err(refused)?;
        if events.is_empty() {
            return Err(Problem::new(Code::InvalidBody, "the array has no events"));
        }
        Ok(self.batch(events, Place::Event)?)
    }

    /// The batch that goes there next.
    pub(super) fn batch(&self, events: Vec<Prepared>, place: Place) -> Result<Append, AfterEnd> {
        let count = events.len();
        if let Some(at) = events.iter().position(|event| event.terminal)
            && at + 1 < count
        {
            return Err(AfterEnd { place, index: at + 1 });
        }
        let close = events.last().is_some_and(|event| event.terminal);
        Ok(Append {
            run: self.run.clone(),
            events: events.into_iter().map(|event| event.payload.into_bytes()).collect(),
            close,
            expected_last: self.expected_last,
            producer: self.producer.clone(),
            create: self.create,
        })
    }

    /// Moves on behind a batch of `count` events that was stored.
    pub(super) fn advance(&mut self, count: u64, appended: &Appended) {
        if let Some(producer) = &mut self.producer {
            producer.sequence += count;
        }
        if let Some(expected) = &mut self.expected_last {
            *expected = appended.last;
        }
    }
}

/// The place of a terminal event with events behind it, from 1.
#[derive(Debug)]
pub(super) struct AfterEnd {
    pub(super) place: Place,
    pub(super) index: usize,
}

impl From<AfterEnd> for Problem {
    fn from(AfterEnd { place, index }: AfterEnd) -> Self {
        Self::after_end(place, index)
    }
}

/// Who appends: all three headers, or none.
fn producer(parts: &Parts) -> Result<Option<ProducerStamp>, Problem> {
    let names = [&PRODUCER_ID, &PRODUCER_EPOCH, &PRODUCER_SEQ];
    let mut texts = [None; 3];
    for (text, name) in texts.iter_mut().zip(names) {
        *text = header_text(&parts.headers, name)?;
    }
    let [Some(id), Some(epoch), Some(sequence)] = texts else {
        let missing = texts.iter().zip(names).find(|(text, _)| text.is_none());
        return match missing {
            Some((_, name)) if texts.iter().any(Option::is_some) => {
                let detail = "is missing: Producer-Id, Producer-Epoch and Producer-Seq go together";
                Err(Problem::header(title_of(name), detail))
            }
            _ => Ok(None),
        };
    };
    let id = ProducerId::new(id).map_err(|error| Problem::header("Producer-Id", error))?;
    let number = |name: &HeaderName, text: &str| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_plain && *number <= Offset::MAX.get());
        let detail = format!("must be a whole number from 0 to {}", Offset::MAX);
        number.ok_or_else(|| Problem::header(title_of(name), detail))
    };
    let (epoch, sequence) = (number(&PRODUCER_EPOCH, epoch)?, number(&PRODUCER_SEQ, sequence)?);
    Ok(Some(ProducerStamp { id, epoch, sequence }))
}

fn title_of(name: &HeaderName) -> &'static str {
    match name.as_str() {
        "producer-id" => "Producer-Id",
        "producer-epoch" => "Producer-Epoch",
        _ => "Producer-Seq",
    }
}

/// Append events
///
/// One event, an array, or one a line. Answers when the events are durable; lines are answered
/// batch by batch, as they arrive.
#[utoipa::path(
    post, path = "/v1/runs/{run}/events", tag = "events",
    params(
        ("run" = String, Path, description = "The run's id"),
        ("create" = Option<bool>, Query, description = "Whether to create the run, by default true"),
        ("expected_offset" = Option<u64>, Query, description = "Append only if this is the run's last offset"),
        ("Producer-Id" = Option<String>, Header, description = "Who appends, for exactly-once retries"),
        ("Producer-Epoch" = Option<u64>, Header, description = "The producer's incarnation"),
        ("Producer-Seq" = Option<u64>, Header, description = "The number of the first event of the request, from 0"),
    ),
    request_body(content(
        (EventBody = "application/json"), (String = "application/x-ndjson"),
    ), description = "One event, an array of events, or one event a line"),
    responses(
        (status = 200, description = "The events are durable", content(
            (AppendedBody = "application/json"), (String = "application/x-ndjson"),
        )),
        (status = "4XX", body = ProblemBody, content_type = "application/problem+json", description = "The events were refused"),
        (status = "5XX", body = ProblemBody, content_type = "application/problem+json", description = "The log takes no events"),
    ),
)]
pub(super) async fn append(
    State(services): State<Shared>,
    run: Result<RunPath, Problem>,
    request: Request,
) -> Result<Response, Problem> {
    services.metrics.append_requested();
    let answer = match run {
        Ok(RunPath(run)) => take(&services, run, request).await,
        Err(problem) => Err(problem),
    };
    answer.inspect_err(|problem| services.metrics.append_refused(problem.code()))
}

async fn take(services: &Services, run: RunId, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let target = Target::parse(run, &parts)?;
    let media_type = MediaType::of(&parts.headers)?;
    if media_type == MediaType::Lines {
        let reader = BodyReader::new(body, services.limits.body_idle_timeout);
        return intake::answer(services, target, reader).await;
    }
    let bytes = read_whole(&parts.headers, body, limits::BATCH_BYTES_MAX, &services.limits).await?;
    let append = target.append(&bytes, services.clock.now())?;
    let appended = services.publisher.append(append).await.map_err(Unstored::in_batch)?;
    Ok(json(answer::appended(&target.run, &appended, None)))
}
