//! Takes in events one a line, as they arrive.
//!
//! A task of its own reads the request, so that what was complete is stored even if the client
//! leaves. Lines that wait together make a batch; while one batch is being made durable the next
//! one collects. At most a batch is held in memory, and a client that does not take its answers is
//! not read any further.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::stream;
use runcast_event::{EventError, EventProblem, limits, parse_lines};
use runcast_log::Appended;
use tokio::sync::mpsc;

use super::Services;
use super::append::Target;
use super::body::{BodyError, BodyReader};
use crate::accept::{Phase, PhaseWatch};
use crate::clock::Clock;
use crate::problem::{Code, Place, Problem};
use crate::publisher::{Publisher, Unstored};
use crate::transport::answer;

/// Answers that wait for a client to take them.
const ANSWERS_WAITING_MAX: usize = 64;

/// What becomes of a part of the request.
enum Answer {
    Stored(Bytes),
    Done(Bytes),
    Failed(Problem),
}

/// Begins to take in a request; the answer goes on as the request does.
pub(super) async fn answer(
    services: &Services,
    target: Target,
    body: BodyReader,
) -> Result<Response, Problem> {
    let (answers, mut answered) = mpsc::channel(ANSWERS_WAITING_MAX);
    let phase = services.phase.clone();
    let intake = Intake {
        publisher: services.publisher.clone(),
        clock: services.clock.clone(),
        target,
        body,
        buffer: BytesMut::new(),
        lines: 0,
        ended: false,
        fault: None,
        stored: 0,
        duplicates: 0,
        answers,
    };
    tokio::spawn(intake.run(phase));
    let first = match answered.recv().await {
        Some(Answer::Failed(problem)) => return Err(problem),
        Some(first) => first,
        None => return Err(Problem::new(Code::Internal, "the request could not be taken in")),
    };
    let metrics = Arc::clone(&services.metrics);
    let later = stream::unfold((Some(first), answered, metrics), |state| async move {
        let (first, mut answered, metrics) = state;
        let next = match first {
            Some(first) => Some(first),
            None => answered.recv().await,
        };
        let bytes = match next? {
            Answer::Stored(bytes) | Answer::Done(bytes) => bytes,
            Answer::Failed(problem) => {
                metrics.append_refused(problem.code());
                answer::failed(&problem).into()
            }
        };
        Some((Ok::<_, std::convert::Infallible>(bytes), (None, answered, metrics)))
    });
    let mut response = Response::new(Body::from_stream(later));
    let media_type = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    Ok(response)
}

struct Intake {
    publisher: Publisher,
    clock: Clock,
    target: Target,
    body: BodyReader,
    /// What arrived and is in no batch yet.
    buffer: BytesMut,
    /// Lines that are in batches.
    lines: usize,
    /// Whether nothing more will arrive.
    ended: bool,
    /// Why the request ended before its end.
    fault: Option<Problem>,
    stored: u64,
    duplicates: u64,
    answers: mpsc::Sender<Answer>,
}

/// A batch on its way to the disk.
struct Pending {
    appending: Pin<Box<dyn Future<Output = Result<Appended, Unstored>> + Send>>,
    batch: Batch,
}

/// The lines of a batch.
struct Batch {
    events: u64,
    first_line: usize,
    text: Bytes,
}

impl Intake {
    async fn run(mut self, phase: PhaseWatch) {
        let last = match self.take_in(phase).await {
            Ok(()) => Answer::Done(answer::done(self.stored, self.duplicates, self.lines).into()),
            Err(problem) => Answer::Failed(problem),
        };
        // A client that is gone wants no answer.
        let _ = self.answers.send(last).await;
    }

    async fn take_in(&mut self, mut phase: PhaseWatch) -> Result<(), Problem> {
        let mut pending: Option<Pending> = None;
        loop {
            if let Some(pending_batch) = &mut pending {
                let wants_more = !self.ended && self.buffer.len() < limits::BATCH_BYTES_MAX;
                tokio::select! {
                    appended = &mut pending_batch.appending => {
                        let Some(Pending { batch, .. }) = pending.take() else { continue };
                        self.acknowledge(appended, batch).await?;
                    }
                    piece = self.body.next(), if wants_more => self.receive(piece),
                    () = phase.reached(Phase::Draining), if !self.ended => self.end(shutting_down()),
                }
            } else if let Some(batch) = self.next_batch()? {
                pending = Some(batch);
            } else if self.ended {
                return self.fault.take().map_or(Ok(()), Err);
            } else {
                tokio::select! {
                    piece = next_piece(&mut self.body, !self.buffer.is_empty()) => self.receive(piece),
                    () = phase.reached(Phase::Draining) => self.end(shutting_down()),
                }
            }
        }
    }

    fn receive(&mut self, piece: Result<Option<Bytes>, BodyError>) {
        match piece {
            Ok(Some(bytes)) => self.buffer.extend_from_slice(&bytes),
            Ok(None) => self.ended = true,
            Err(error) => self.end(error.into()),
        }
    }

    /// Ends the request before its end. A line that is only half there is dropped.
    fn end(&mut self, fault: Problem) {
        let complete = memchr::memrchr(b'\n', &self.buffer).map_or(0, |at| at + 1);
        self.buffer.truncate(complete);
        self.ended = true;
        self.fault = Some(fault);
    }

    /// Cuts off the lines that wait, if they have events, and begins to append them.
    fn next_batch(&mut self) -> Result<Option<Pending>, Problem> {
        while let Some((length, lines)) = self.complete_lines()? {
            let first_line = self.lines + 1;
            let text = self.buffer.split_to(length);
            self.lines += lines;
            let events = parse_lines(&text, first_line, self.clock.now())
                .map_err(|error| Problem::of_batch(&error, Place::Line))?;
            if events.is_empty() {
                continue;
            }
            let count = events.len() as u64;
            let append = self.target.batch(events, Place::Line).map_err(|after_end| {
                Problem::after_end(Place::Line, line_of(&text, first_line, after_end.index))
            })?;
            let publisher = self.publisher.clone();
            let appending = Box::pin(async move { publisher.append(append).await });
            let batch = Batch { events: count, first_line, text: text.freeze() };
            return Ok(Some(Pending { appending, batch }));
        }
        Ok(None)
    }

    /// How many bytes and lines the next batch takes, if a line is complete.
    fn complete_lines(&mut self) -> Result<Option<(usize, usize)>, Problem> {
        let mut taken = None;
        let ends = memchr::memchr_iter(b'\n', &self.buffer).take(limits::BATCH_EVENTS_MAX);
        for (at, lines) in ends.zip(1..) {
            if at + 1 > limits::BATCH_BYTES_MAX {
                break;
            }
            taken = Some((at + 1, lines));
        }
        if taken.is_none() && self.buffer.len() > limits::EVENT_BYTES_MAX {
            let (actual, max) = (self.buffer.len(), limits::EVENT_BYTES_MAX);
            let problem = EventProblem::TooLarge { actual, max, unit: "bytes" };
            let error = EventError { field: String::new(), problem };
            return Err(Problem::of_event(&error, Place::Line, self.lines + 1));
        }
        if taken.is_none() && self.ended && !self.buffer.is_empty() {
            // The last line needs no end.
            taken = Some((self.buffer.remaining(), 1));
        }
        Ok(taken)
    }

    async fn acknowledge(
        &mut self,
        appended: Result<Appended, Unstored>,
        batch: Batch,
    ) -> Result<(), Problem> {
        let appended = appended.map_err(|Unstored { problem, event }| {
            let line = |event| line_of(&batch.text, batch.first_line, event);
            problem.with("line", event.map_or(batch.first_line, line))
        })?;
        self.target.advance(batch.events, &appended);
        self.stored += appended.stored;
        self.duplicates += appended.duplicates;
        let line = answer::appended(&self.target.run, &appended, Some(self.lines));
        // What a client that is gone has sent is stored all the same.
        let _ = self.answers.send(Answer::Stored(line.into())).await;
        Ok(())
    }
}

/// A half line must go on in time; between lines a producer may be silent.
async fn next_piece(body: &mut BodyReader, in_line: bool) -> Result<Option<Bytes>, BodyError> {
    if in_line { body.next_in_time().await } else { body.next().await }
}

fn shutting_down() -> Problem {
    let detail = "the server is shutting down; send the lines that were not answered again";
    Problem::new(Code::LogUnavailable, detail)
}

/// The line of the event at `index`, from 1: lines without an event do not count as one.
fn line_of(text: &[u8], first_line: usize, index: usize) -> usize {
    let lines = text.split(|byte| *byte == b'\n').enumerate();
    let mut with_events = lines.filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace));
    with_events.nth(index - 1).map_or(first_line, |(at, _)| first_line + at)
}
