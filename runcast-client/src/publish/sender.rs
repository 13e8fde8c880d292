//! Sends a spool's events in order, and decides what to do when the server does not take them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use runcast_event::{Draft, Timestamp, limits};
use serde_json::json;

use super::verdict::Verdict;
use super::{Courier, Notice, NoticeFn};
use crate::spool::{Batch, Reader, Spool};
use crate::{Backoff, ClientError, Producer};

/// The most events of the spool in one request. One more has room: the gap that begins an epoch.
const SEND_EVENTS_MAX: usize = limits::BATCH_EVENTS_MAX - 1;
/// Why a gap begins an epoch.
const LOST_REASON: &str =
    "the server does not have events that came before, and the spool no longer has them";

/// What a step has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The server has taken a batch.
    Sent,
    /// There is nothing to send.
    Idle,
    /// The server has not taken the batch: the next step is due after this time.
    Wait(Duration),
    /// The server takes no events of this run.
    Refused(String),
}

/// Sends one spool.
pub(super) struct Sender<C> {
    courier: C,
    spool: Arc<Spool>,
    reader: Reader,
    /// The number of the next event to send.
    cursor: u64,
    /// Less after the server has found a request too large.
    events_max: usize,
    /// What goes in place of events that the server refused.
    replaced: BTreeMap<u64, Bytes>,
    /// How many those were.
    left_out: u64,
    /// Where the last rewind went, so that the same one is not tried again.
    rewound_to: Option<u64>,
    backoff: Backoff,
    is_away: bool,
    /// Whether this process takes the run from another that publishes it.
    claims: bool,
    notice: NoticeFn,
}

impl<C: Courier> Sender<C> {
    /// Sends what is in the spool; with `claims` also if another process has the run.
    pub(super) fn new(courier: C, spool: Arc<Spool>, claims: bool, notice: NoticeFn) -> Self {
        let reader = Reader::new(Arc::clone(&spool));
        let cursor = spool.progress().acknowledged.max(epoch_starts(&spool));
        Self {
            courier,
            spool,
            reader,
            cursor,
            events_max: SEND_EVENTS_MAX,
            replaced: BTreeMap::new(),
            left_out: 0,
            rewound_to: None,
            backoff: Backoff::new(),
            is_away: false,
            claims,
            notice,
        }
    }

    /// Everything below is with the server.
    pub(super) fn acknowledged(&self) -> u64 {
        self.cursor
    }

    /// How many events the server has refused, each for itself.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Gives up what is left.
    pub(super) fn discard(&self) {
        self.spool.discard();
    }

    /// Sends what is next, once.
    pub(super) async fn step(&mut self) -> Step {
        let batch = match self.reader.read(self.cursor, self.events_max) {
            Ok(Some(batch)) => batch,
            Ok(None) => return Step::Idle,
            Err(error) => return self.unreadable(&error),
        };
        let header = self.spool.header();
        let mut body = BytesMut::new();
        let begins_epoch = header.lost_before > 0 && batch.first == header.base + 1;
        if begins_epoch {
            put_line(&mut body, &gap_line(header.lost_before, LOST_REASON));
        }
        for (number, line) in (batch.first..).zip(&batch.lines) {
            put_line(&mut body, self.replaced.get(&number).unwrap_or(line));
        }
        let sequence = batch.first - header.base - u64::from(begins_epoch);
        let producer = Producer { id: header.producer, epoch: header.epoch, sequence };
        match self.courier.send(&header.run, body.freeze(), &producer).await {
            Ok(()) => {
                self.taken(&batch);
                Step::Sent
            }
            Err(error) => self.refused(&error, &batch, header.base, sequence, begins_epoch),
        }
    }

    fn taken(&mut self, batch: &Batch) {
        // Who is fenced off from now on, was by a later one.
        self.claims = false;
        self.cursor = batch.end();
        self.spool.acknowledge(self.cursor);
        self.replaced = self.replaced.split_off(&self.cursor);
        self.rewound_to = None;
        self.backoff.succeeded();
        if std::mem::take(&mut self.is_away) {
            (self.notice)(Notice::ServerBack);
        }
    }

    fn refused(
        &mut self,
        error: &ClientError,
        batch: &Batch,
        base: u64,
        sequence: u64,
        begins_epoch: bool,
    ) -> Step {
        match Verdict::on(error) {
            Verdict::Retry => self.wait(error.to_string()),
            // Nothing can be missing in front of an epoch's first event.
            Verdict::Rewind { .. } if sequence == 0 => self.wait(error.to_string()),
            Verdict::Rewind { expected } => {
                self.rewind(base + expected, batch);
                Step::Wait(Duration::ZERO)
            }
            Verdict::Replace { line } => {
                let at = line.checked_sub(usize::from(begins_epoch));
                let number = at.map(|at| batch.first + at as u64);
                match number.filter(|number| *number < batch.end()) {
                    Some(number) => self.replace(number, error),
                    None => self.give_up(error),
                }
            }
            Verdict::Smaller if batch.lines.len() > 1 => {
                self.events_max = batch.lines.len() / 2;
                Step::Wait(Duration::ZERO)
            }
            Verdict::Smaller => self.replace(batch.first, error),
            Verdict::Fenced { current } if self.claims => {
                // As at the beginning of any epoch: what another process of this spool has sent and
                // was not told of may be doubled. It was killed, and its run went on elsewhere.
                let _header_is_best_effort = self.spool.claim(current, batch.first);
                self.cursor = batch.first;
                Step::Wait(Duration::ZERO)
            }
            Verdict::Fenced { .. } => {
                (self.notice)(Notice::Replaced);
                Step::Refused(error.to_string())
            }
            Verdict::GiveUp => self.give_up(error),
        }
    }

    fn wait(&mut self, reason: String) -> Step {
        if !std::mem::replace(&mut self.is_away, true) {
            (self.notice)(Notice::ServerAway { reason });
        }
        Step::Wait(self.backoff.failed())
    }

    /// Goes back to what the server misses; begins a new epoch when that is not here any more.
    fn rewind(&mut self, missing: u64, batch: &Batch) {
        let target = missing.max(epoch_starts(&self.spool));
        let is_here = target >= self.spool.first_kept() && target < batch.first;
        if is_here && self.rewound_to != Some(target) {
            self.rewound_to = Some(target);
            self.cursor = target;
            return;
        }
        let lost = batch.first.saturating_sub(missing);
        // When the header cannot be written, a process that takes over may double events; to stop
        // here would lose them.
        let _header_is_best_effort = self.spool.begin_epoch(batch.first, lost);
        self.cursor = batch.first;
        self.rewound_to = None;
    }

    fn replace(&mut self, number: u64, error: &ClientError) -> Step {
        let reason = error.to_string();
        let gap = gap_line(1, &reason);
        if self.replaced.insert(number, gap).is_some() {
            return self.give_up(error);
        }
        self.left_out += 1;
        if self.left_out == 1 {
            (self.notice)(Notice::EventRefused { reason });
        }
        Step::Wait(Duration::ZERO)
    }

    fn give_up(&self, error: &ClientError) -> Step {
        let reason = error.to_string();
        (self.notice)(Notice::Refused { reason: reason.clone() });
        Step::Refused(reason)
    }

    /// A segment cannot be read: for now, or it is damaged and passed over. The hole that this
    /// leaves makes the server ask for what is missing, and so becomes a gap.
    fn unreadable(&mut self, error: &io::Error) -> Step {
        use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
        if matches!(error.kind(), InvalidData | NotFound | UnexpectedEof) {
            self.cursor = self.reader.after_segment(self.cursor);
            return Step::Wait(Duration::ZERO);
        }
        self.wait(format!("the spool cannot be read: {error}"))
    }
}

/// The number of the first event of the producer's epoch.
fn epoch_starts(spool: &Spool) -> u64 {
    let header = spool.header();
    header.base + u64::from(header.lost_before > 0)
}

fn put_line(body: &mut BytesMut, line: &[u8]) {
    body.reserve(line.len() + 1);
    body.put_slice(line);
    body.put_u8(b'\n');
}

fn gap_line(lost: u64, reason: &str) -> Bytes {
    let data = json!({ "lost_events": lost, "reason": reason });
    Draft::new("producer.gap", data).at(Timestamp::now()).to_json().into()
}

#[cfg(test)]
mod tests;
