//! Sends a process's events, each stored exactly once, however often the server goes away.
//!
//! Keeps nothing on disk and nothing beyond the one request: whoever makes the events waits.

use bytes::Bytes;
use runcast_client::{AppendAnswer, Backoff, Client, ClientError, Producer};
use runcast_event::{ProducerId, RunId};
use tokio::time::sleep;

use crate::report::note;

/// A producer of one run.
pub(crate) struct Sender {
    client: Client,
    run: RunId,
    producer: Producer,
    backoff: Backoff,
}

impl Sender {
    pub(crate) fn new(client: Client, run: RunId) -> Self {
        let producer = Producer { id: ProducerId::random(), epoch: 1, sequence: 0 };
        Self { client, run, producer, backoff: Backoff::new() }
    }

    /// Sends `count` events, one a line, and answers once they are stored. Tries until they are.
    ///
    /// After a refusal the same numbers go to what is sent next: of the refused batch, events that
    /// were stored in front of the refused one must then come first, and again.
    ///
    /// # Errors
    /// A refusal that another try cannot mend.
    pub(crate) async fn send(
        &mut self,
        lines: Bytes,
        count: u64,
    ) -> Result<AppendAnswer, ClientError> {
        loop {
            let sent = self.client.append_lines(&self.run, lines.clone(), Some(&self.producer));
            match sent.await {
                Ok(answer) => {
                    if self.backoff.attempt() > 0 {
                        note("the server takes events again");
                    }
                    self.backoff.succeeded();
                    self.producer.sequence += count;
                    return Ok(answer);
                }
                Err(error) if error.is_retryable() => {
                    let wait = self.backoff.failed();
                    if self.backoff.attempt() == 1 {
                        note(&format!("{error}; trying again until it is back"));
                    }
                    sleep(wait).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
