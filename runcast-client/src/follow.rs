//! Follows a run or its mailbox live, over server-sent events, and resumes by itself.
//!
//! Owns the reader's cursor and its reconnects. Promises every event once and in order, each gap
//! told, and an end only where the server says so: a connection that drops, or says nothing for
//! [`SILENCE_MAX`], is made again from the cursor, for as long as it takes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Response, StatusCode};
use runcast_event::{Cursor, Event, Offset, RunId};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::answer::Gap;
use crate::api::Client;
use crate::backoff::Backoff;
use crate::error::{ClientError, Problem, network_reason};
use crate::request::Choice;
use crate::sse::{Frame, FrameReader};

/// How long a connection may say nothing, not even a heartbeat, until it counts as dropped.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// A connection that held this long was a good one, even if it brought no event.
const STEADY_AFTER: Duration = Duration::from_secs(5);
/// The largest refusal that is read.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// What a follower is told.
#[derive(Debug, Clone)]
pub enum FollowItem {
    /// How the connection stands now.
    State(FollowState),
    /// The next event.
    Event(Event),
    /// Events that cannot be had.
    Gap(Gap),
    /// The run has ended and everything of it was told. Nothing comes after.
    End {
        /// The type of the terminal event; none when it was seen before this follow began.
        event_type: Option<String>,
    },
    /// The run was deleted. Nothing comes after.
    Deleted,
}

/// How a follower's connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FollowState {
    /// It is made for the first time.
    Connecting,
    /// It is there.
    Live,
    /// It is not, and will be made again.
    Reconnecting {
        /// How many tries in a row have failed.
        attempt: u32,
        /// How long until the next.
        after: Duration,
        /// What broke it.
        reason: String,
    },
}

/// What of a run is followed.
enum Followed {
    /// Its events.
    Events(Choice),
    /// Its mailbox.
    Commands,
}

/// A reader of one run, or of its mailbox.
pub struct Follower {
    client: Client,
    run: RunId,
    followed: Followed,
    cursor: Cursor,
    phase: Phase,
    backoff: Backoff,
    silence_max: Duration,
    ready: VecDeque<FollowItem>,
}

type Answering = Pin<Box<dyn Future<Output = Result<Response, ClientError>> + Send>>;

enum Phase {
    Waiting { until: Instant },
    Connecting { answer: Answering },
    Open { connection: Box<Connection> },
    Done,
}

struct Connection {
    response: Response,
    reader: FrameReader,
    opened: Instant,
    heard: Instant,
}

/// Why a phase ended.
enum Break {
    /// To be tried again.
    Dropped(String),
    /// Not to be tried again.
    Fatal(ClientError),
}

impl Client {
    /// Follows a run from behind `after`, for as long as it runs. The run need not exist yet.
    #[must_use]
    pub fn follow(&self, run: &RunId, after: Cursor) -> Follower {
        self.follow_chosen(run, after, Choice::default())
    }

    /// As [`Self::follow`], for some of the events, or with deltas merged.
    #[must_use]
    pub fn follow_chosen(&self, run: &RunId, after: Cursor, choice: Choice) -> Follower {
        self.follower(run, after, Followed::Events(choice))
    }

    /// Follows what is said to a run: commands, answers to its inputs, and those that came too late.
    /// For the run's producer only: to the server, the run is alive as long as this is followed.
    #[must_use]
    pub fn follow_commands(&self, run: &RunId, after: Cursor) -> Follower {
        self.follower(run, after, Followed::Commands)
    }

    fn follower(&self, run: &RunId, after: Cursor, followed: Followed) -> Follower {
        Follower {
            client: self.clone(),
            run: run.clone(),
            followed,
            cursor: after,
            phase: Phase::Waiting { until: Instant::now() },
            backoff: Backoff::new(),
            silence_max: SILENCE_MAX,
            ready: VecDeque::from([FollowItem::State(FollowState::Connecting)]),
        }
    }
}

impl Follower {
    /// The last event that was told, to follow on from another time.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The next item; none after the end, a deletion or an error.
    ///
    /// Nothing is lost when the returned future is dropped.
    ///
    /// # Errors
    /// A refusal that another try cannot mend, as for a cursor in the future.
    pub async fn next(&mut self) -> Option<Result<FollowItem, ClientError>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(Ok(item));
            }
            let step = match &mut self.phase {
                Phase::Done => return None,
                Phase::Waiting { until } => {
                    sleep_until(*until).await;
                    self.phase = Phase::Connecting { answer: self.connect() };
                    Ok(())
                }
                Phase::Connecting { answer } => match answer.await {
                    Ok(response) => self.open(response),
                    Err(error) if error.code() == Some("run_deleted") => {
                        self.finish(FollowItem::Deleted);
                        Ok(())
                    }
                    Err(error) if error.is_retryable() => Err(Break::Dropped(error.to_string())),
                    Err(error) => Err(Break::Fatal(error)),
                },
                Phase::Open { .. } => self.hear().await,
            };
            match step {
                Ok(()) => {}
                Err(Break::Dropped(reason)) => self.reconnect(reason),
                Err(Break::Fatal(error)) => {
                    self.phase = Phase::Done;
                    return Some(Err(error));
                }
            }
        }
    }

    fn connect(&self) -> Answering {
        let client = self.client.clone();
        let (run, cursor) = (&self.run, self.cursor);
        let path = match &self.followed {
            Followed::Events(choice) => {
                format!("/v1/runs/{run}/events?after={cursor}{}", choice.query())
            }
            Followed::Commands => format!("/v1/runs/{run}/commands?after={cursor}"),
        };
        let silence_max = self.silence_max;
        Box::pin(async move {
            let request =
                client.http.get(client.address(&path)).header(ACCEPT, "text/event-stream");
            let sent = timeout(silence_max, request.send()).await;
            let sent = sent.map_err(|_| ClientError::Unreachable {
                url: client.base_url().to_owned(),
                reason: "no answer in time".to_owned(),
                may_be_sent: true,
            })?;
            let mut response = sent.map_err(|error| client.cut_off(&error))?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let mut body = Vec::new();
            while let Ok(Ok(Some(chunk))) = timeout(silence_max, response.chunk()).await {
                body.extend_from_slice(&chunk);
                if body.len() > REFUSAL_BYTES_MAX {
                    break;
                }
            }
            Err(ClientError::Problem(Box::new(Problem::from_answer(status.as_u16(), &body))))
        })
    }

    fn open(&mut self, response: Response) -> Result<(), Break> {
        if response.status() == StatusCode::NO_CONTENT {
            self.finish(FollowItem::End { event_type: None });
            return Ok(());
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            let kind = kind.unwrap_or("nothing");
            let reason = format!("a stream of events was asked for, {kind} came");
            return Err(Break::Fatal(self.client.protocol(reason)));
        }
        let now = Instant::now();
        let reader = FrameReader::default();
        let connection = Box::new(Connection { response, reader, opened: now, heard: now });
        self.phase = Phase::Open { connection };
        self.ready.push_back(FollowItem::State(FollowState::Live));
        Ok(())
    }

    /// Waits for bytes and takes the frames in them.
    async fn hear(&mut self) -> Result<(), Break> {
        let Phase::Open { connection } = &mut self.phase else { return Ok(()) };
        let Connection { response, reader, opened, heard } = &mut **connection;
        let chunk = match timeout_at(*heard + self.silence_max, response.chunk()).await {
            Err(_) => {
                let seconds = self.silence_max.as_secs();
                return Err(Break::Dropped(format!("nothing came for {seconds} seconds")));
            }
            Ok(Err(error)) => return Err(Break::Dropped(network_reason(&error))),
            Ok(Ok(None)) => return Err(Break::Dropped("connection closed".to_owned())),
            Ok(Ok(Some(chunk))) => chunk,
        };
        *heard = Instant::now();
        if heard.duration_since(*opened) >= STEADY_AFTER {
            self.backoff.succeeded();
        }
        reader.push(&chunk);
        loop {
            let Phase::Open { connection } = &mut self.phase else { return Ok(()) };
            let frame = connection.reader.next_frame();
            match frame.map_err(|error| Break::Dropped(error.to_string()))? {
                Some(frame) => self.take(&frame)?,
                None => return Ok(()),
            }
        }
    }

    fn take(&mut self, frame: &Frame) -> Result<(), Break> {
        let Some(data) = &frame.data else {
            self.pass(frame);
            return Ok(());
        };
        let data = data.as_bytes();
        let wrong = |error: &dyn std::fmt::Display| {
            Break::Dropped(format!("a frame that cannot be read: {error}"))
        };
        match frame.event.as_str() {
            "gap" => {
                let gap: Gap = serde_json::from_slice(data).map_err(|error| wrong(&error))?;
                self.cursor = behind_gap(self.cursor, &gap);
                self.ready.push_back(FollowItem::Gap(gap));
            }
            "end" => {
                #[derive(Deserialize)]
                struct End {
                    #[serde(rename = "type")]
                    event_type: Option<String>,
                }
                let end: End = serde_json::from_slice(data).map_err(|error| wrong(&error))?;
                self.finish(FollowItem::End { event_type: end.event_type });
            }
            "deleted" => self.finish(FollowItem::Deleted),
            "" | "message" => {
                let id = frame.id.as_deref().unwrap_or_default();
                let id: Cursor = id.parse().map_err(|error| wrong(&error))?;
                let event = Event::from_json(data).map_err(|error| wrong(&error))?;
                let is_all = matches!(&self.followed, Followed::Events(choice) if choice.is_all());
                if is_next(self.cursor, id, &event, is_all).map_err(Break::Dropped)? {
                    self.cursor = id;
                    self.backoff.succeeded();
                    self.ready.push_back(FollowItem::Event(event));
                }
            }
            // A frame of a later version, which says nothing to this one.
            _ => {}
        }
        Ok(())
    }

    /// Moves the cursor past events that were not chosen.
    fn pass(&mut self, frame: &Frame) {
        let id = frame.id.as_deref().and_then(|id| id.parse::<Cursor>().ok());
        if let Some(id) = id
            && (id.epoch, id.after) > (self.cursor.epoch, self.cursor.after)
        {
            self.cursor = id;
        }
    }

    fn finish(&mut self, last: FollowItem) {
        self.ready.push_back(last);
        self.phase = Phase::Done;
    }

    fn reconnect(&mut self, reason: String) {
        let after = self.backoff.failed();
        self.phase = Phase::Waiting { until: Instant::now() + after };
        let attempt = self.backoff.attempt();
        let state = FollowState::Reconnecting { attempt, after, reason };
        self.ready.push_back(FollowItem::State(state));
    }
}

/// Whether this is the event behind the cursor; false if it was told before.
///
/// An event of another place says that the stream is broken: the text says how. Only a reader of
/// all events knows that one is missing.
fn is_next(cursor: Cursor, id: Cursor, event: &Event, is_all: bool) -> Result<bool, String> {
    let offset = event.offset;
    if id.after != offset {
        return Err(format!("an event of offset {offset} came with the id {id}"));
    }
    if id.epoch == cursor.epoch && offset <= cursor.after {
        return Ok(false);
    }
    // A later epoch goes on without a gap where both have the events up to here.
    let follows = if is_all { event.first() == cursor.after.next() } else { offset > cursor.after };
    if id.epoch >= cursor.epoch && follows {
        return Ok(true);
    }
    Err(format!("event {id} came behind {cursor}"))
}

fn behind_gap(cursor: Cursor, gap: &Gap) -> Cursor {
    let last_before = |offset: Offset| Offset::new(offset.get().saturating_sub(1));
    match (gap.reason.as_str(), gap.to) {
        ("epoch_changed", _) => {
            Cursor::new(gap.epoch.unwrap_or(cursor.epoch), last_before(gap.from))
        }
        (_, Some(to)) => Cursor::new(gap.epoch.unwrap_or(cursor.epoch), to.max(cursor.after)),
        (_, None) => cursor,
    }
}

#[cfg(test)]
mod tests;
