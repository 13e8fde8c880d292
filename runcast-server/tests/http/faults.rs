//! What a reader or producer is told when the log cannot do what it should.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use runcast_event::{Epoch, Offset, RunId};
use runcast_hub::{Hub, HubBuilder, HubConfig};
use runcast_log::{
    Append, AppendError, Appended, DeleteError, Log, LogHealth, MemoryLog, Page, ReadError,
    ReadLimit, StreamStat, Trim,
};
use tokio::sync::{Mutex, Semaphore};

use crate::client::TestServer;

/// A log with one fault.
struct FaultyLog {
    inner: Arc<MemoryLog>,
    fault: Fault,
    /// One permit for each append of a slow log.
    gate: Arc<Semaphore>,
    turn: Mutex<()>,
}

#[derive(Clone, PartialEq)]
enum Fault {
    Append(AppendError),
    Delete(DeleteError),
    /// As often as the gate has permits.
    DeleteAtFirst,
    Read,
    ListNeverEnds,
    Full,
    Slow,
}

#[async_trait]
impl Log for FaultyLog {
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        match &self.fault {
            Fault::Append(error) => Err(error.clone()),
            Fault::Slow => {
                // Fair: appends pass in the order in which they came, as the contract says.
                let _turn = self.turn.lock().await;
                self.gate.acquire().await.unwrap().forget();
                self.inner.append(append).await
            }
            _ => self.inner.append(append).await,
        }
    }

    async fn read(&self, run: &RunId, after: Offset, limit: ReadLimit) -> Result<Page, ReadError> {
        if self.fault == Fault::Read {
            return Err(ReadError::Failed { reason: "a checksum is wrong at byte 7".into() });
        }
        self.inner.read(run, after, limit).await
    }

    async fn stat(&self, run: &RunId) -> Result<Option<StreamStat>, ReadError> {
        self.inner.stat(run).await
    }

    async fn list(
        &self,
        after: Option<&RunId>,
        limit: usize,
    ) -> Result<Vec<(RunId, StreamStat)>, ReadError> {
        if self.fault == Fault::ListNeverEnds {
            std::future::pending::<()>().await;
        }
        self.inner.list(after, limit).await
    }

    async fn delete_in(&self, run: &RunId, epoch: Option<Epoch>) -> Result<bool, DeleteError> {
        match &self.fault {
            Fault::Delete(error) => Err(error.clone()),
            Fault::DeleteAtFirst
                if self.gate.try_acquire().is_ok_and(|permit| {
                    permit.forget();
                    true
                }) =>
            {
                Err(DeleteError::NoRoom { reason: "no space left on device".into() })
            }
            _ => self.inner.delete_in(run, epoch).await,
        }
    }

    async fn trim(&self, run: &RunId, trim: Trim) -> Result<bool, DeleteError> {
        self.inner.trim(run, trim).await
    }

    async fn base(&self, run: &RunId) -> Result<Option<Bytes>, ReadError> {
        self.inner.base(run).await
    }

    async fn first_within(&self, run: &RunId, bytes_max: u64) -> Result<Offset, ReadError> {
        self.inner.first_within(run, bytes_max).await
    }

    fn health(&self) -> LogHealth {
        match &self.fault {
            Fault::Full => LogHealth::Full { reason: "no space left on device".into() },
            _ => self.inner.health(),
        }
    }

    async fn shut_down(&self) {
        self.inner.shut_down().await;
    }
}

fn hub_with(fault: Fault, gate: &Arc<Semaphore>) -> Hub {
    let builder = HubBuilder::new(HubConfig::default());
    let inner = MemoryLog::new(builder.observer());
    builder.build(Arc::new(FaultyLog {
        inner,
        fault,
        gate: Arc::clone(gate),
        turn: Mutex::new(()),
    }))
}

async fn server_with(fault: Fault) -> TestServer {
    let hub = hub_with(fault, &Arc::new(Semaphore::new(0)));
    TestServer::start_on(|config| config.limits.state_wait = Duration::from_millis(20), hub).await
}

/// A hub on a log that has no room for the first deletions, as many as the gate has permits.
pub(crate) fn hub_without_room_for_deletions(gate: &Arc<Semaphore>) -> Hub {
    hub_with(Fault::DeleteAtFirst, gate)
}

/// A hub on a log whose events cannot be read.
pub(crate) fn unreadable_hub() -> Hub {
    hub_with(Fault::Read, &Arc::new(Semaphore::new(0)))
}

/// A hub on a log that stores a batch for each permit that it gets.
pub(crate) fn slow_hub(gate: &Arc<Semaphore>) -> Hub {
    hub_with(Fault::Slow, gate)
}

const ONE: &str = r#"{"type":"output","data":{"text":"x"}}"#;

#[tokio::test]
async fn a_producer_is_told_why_nothing_was_stored() {
    let reason = || "no space left on device".to_owned();
    let cases = [
        (AppendError::NoRoom { reason: reason() }, 507, "no_room"),
        (AppendError::Unavailable { reason: reason() }, 503, "log_unavailable"),
        (AppendError::TooManyProducers { max: 3 }, 409, "too_many_producers"),
    ];
    for (error, status, code) in cases {
        let server = server_with(Fault::Append(error)).await;
        server.post("/v1/runs/r/events", ONE).await.problem(status, code);
        let problem = server.lines("/v1/runs/r/events", ONE).await.problem(status, code);
        assert_eq!(problem["line"], 1);
        server.post("/v1/runs", "{}").await.problem(status, code);
    }
}

#[tokio::test]
async fn a_run_that_cannot_be_deleted_stays() {
    let reason = "no space left on device".to_owned();
    let cases = [
        (DeleteError::NoRoom { reason: reason.clone() }, 507, "no_room"),
        (DeleteError::Unavailable { reason }, 503, "log_unavailable"),
    ];
    for (error, status, code) in cases {
        let server = server_with(Fault::Delete(error)).await;
        server.post("/v1/runs/r/events", ONE).await;
        server.send("DELETE", "/v1/runs/r", &[], b"").await.problem(status, code);
        assert_eq!(server.get("/v1/runs/r").await.status, 200);
    }
}

#[tokio::test]
async fn a_run_that_cannot_be_read_is_a_fault_of_the_server() {
    let server = server_with(Fault::Read).await;
    assert_eq!(server.post("/v1/runs/r/events", ONE).await.status, 200);
    for target in ["/v1/runs/r", "/v1/runs/r/events"] {
        let problem = server.get(target).await.problem(500, "internal");
        assert!(problem["detail"].as_str().unwrap().contains("byte 7"));
    }
    // Its follower is not told that the run has ended.
    let mut follower = server.follow("/v1/runs/r/events").await;
    assert_eq!(follower.rest().await, b": runcast\nretry: 1000\n\n");
    assert_eq!(server.get("/v1/runs").await.status, 200, "other runs are listed");
}

#[tokio::test]
async fn who_asks_for_state_does_not_wait_for_ever() {
    let server = server_with(Fault::ListNeverEnds).await;
    server.get("/v1/runs").await.problem(503, "state_behind");
    server.post("/v1/runs/r/events", ONE).await;
    server.get("/v1/runs/r").await.problem(503, "state_behind");
    assert_eq!(server.get("/v1/runs/r/events").await.status, 200, "events need no state");
}

#[tokio::test]
async fn a_full_log_is_not_ready() {
    let server = server_with(Fault::Full).await;
    let problem = server.get("/readyz").await.problem(503, "log_unavailable");
    assert!(problem["detail"].as_str().unwrap().contains("no space left"));
    let page = server.get("/metrics").await;
    for state in ["{state=\"full\"} 1", "{state=\"healthy\"} 0", "{state=\"failed\"} 0"] {
        assert!(page.text().contains(&format!("\nruncast_log_health{state}\n")), "{state}");
    }
}
