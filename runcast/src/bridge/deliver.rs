//! Takes lines of events to the server, for as long as it takes, and finds a way around those that it
//! refuses.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use runcast_client::publish::Verdict;
use runcast_client::{Backoff, Client, Producer, RunDefinition};
use runcast_event::{Draft, RunId, Timestamp};
use serde_json::json;
use tokio::time::sleep;

use super::counts::Counts;

/// The most lines in a request.
const LINES_MAX: usize = 500;
/// The most bytes of lines in a request, unless one line has more.
const LINES_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Runs that are known to be defined.
const DEFINED_MAX: usize = 16_384;

/// Why lines were not taken, though the server answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unnumbered {
    /// The server knows others of this producer's numbers: a new epoch must begin, behind this one.
    Epoch(u64),
}

/// The way to the server.
#[derive(Clone)]
pub(super) struct Delivery {
    client: Client,
    counts: Arc<Counts>,
    defined: Arc<Mutex<HashSet<RunId>>>,
}

impl Delivery {
    pub(super) fn new(client: Client, counts: Arc<Counts>) -> Self {
        Self { client, counts, defined: Arc::default() }
    }

    /// Says what a run is, once.
    pub(super) async fn define(&self, definition: &RunDefinition) {
        let Some(run) = &definition.id else { return };
        let is_defined = |defined: &HashSet<RunId>| defined.contains(run);
        if is_defined(&self.defined.lock().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let mut backoff = Backoff::new();
        while let Err(error) = self.client.create_run(definition).await {
            // It is there already, and is something else or has ended: it stays as it is.
            if !error.is_retryable() {
                break;
            }
            self.away(&error.to_string(), backoff.failed()).await;
        }
        let mut defined = self.defined.lock().unwrap_or_else(PoisonError::into_inner);
        if defined.len() >= DEFINED_MAX {
            defined.clear();
        }
        defined.insert(run.clone());
    }

    /// Appends lines, each once; the producer's number goes along. Returns when the server has them, or
    /// would never take them.
    pub(super) async fn deliver(
        &self,
        run: &RunId,
        producer: &mut Producer,
        lines: Vec<Bytes>,
    ) -> Result<(), Unnumbered> {
        let (mut lines, mut at, mut lines_max) = (lines, 0, LINES_MAX);
        let mut backoff = Backoff::new();
        while at < lines.len() {
            let piece = piece(&lines[at..], lines_max);
            let sent =
                self.client.append_lines(run, joined(&lines[at..at + piece]), Some(producer));
            let error = match sent.await {
                Ok(answer) => {
                    Counts::add(&self.counts.stored, answer.stored);
                    producer.sequence += piece as u64;
                    at += piece;
                    backoff.succeeded();
                    continue;
                }
                Err(error) => error,
            };
            match Verdict::on(&error) {
                Verdict::Retry => self.away(&error.to_string(), backoff.failed()).await,
                Verdict::Replace { line } if line < piece => {
                    self.counts.bad(run.as_str(), &error.to_string());
                    lines[at + line] = gap(1, &error.to_string());
                }
                Verdict::Smaller if piece > 1 => lines_max = piece / 2,
                Verdict::Smaller => {
                    self.counts.bad(run.as_str(), &error.to_string());
                    lines[at] = gap(1, &error.to_string());
                }
                Verdict::Rewind { .. } => return Err(Unnumbered::Epoch(producer.epoch)),
                Verdict::Fenced { current } => return Err(Unnumbered::Epoch(current)),
                Verdict::Replace { .. } | Verdict::GiveUp => {
                    let left = (lines.len() - at) as u64;
                    Counts::add(&self.counts.bad, left - 1);
                    self.counts.bad(run.as_str(), &error.to_string());
                    producer.sequence += left;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn away(&self, reason: &str, wait: Duration) {
        self.counts.tell("the server", reason);
        sleep(wait).await;
    }
}

/// How many lines go in the next request.
fn piece(lines: &[Bytes], lines_max: usize) -> usize {
    let mut bytes = 0;
    let fits = |line: &&Bytes| {
        bytes += line.len();
        bytes <= LINES_BYTES_MAX
    };
    lines.iter().take(lines_max).take_while(fits).count().max(1)
}

fn joined(lines: &[Bytes]) -> Bytes {
    let mut body = BytesMut::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        body.put_slice(line);
        body.put_u8(b'\n');
    }
    body.freeze()
}

/// An event that stands for some that are missing.
pub(super) fn gap(lost: u64, reason: &str) -> Bytes {
    let data = json!({ "lost_events": lost, "reason": reason });
    Draft::new("producer.gap", data).at(Timestamp::now()).to_json().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_so_many_lines_and_bytes_but_at_least_one() {
        let lines = vec![Bytes::from(vec![b'x'; LINES_BYTES_MAX / 2]); 5];
        assert_eq!((piece(&lines, 500), piece(&lines, 1)), (2, 1));
        assert_eq!(piece(&[Bytes::from(vec![b'x'; LINES_BYTES_MAX + 1])], 500), 1);
        assert_eq!(joined(&[Bytes::from("a"), Bytes::from("b")]), "a\nb\n");
    }
}
