//! The signals that `exec` gets and passes on.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::system::is_ignored;

/// Signals that ask to stop.
const STOPPING: [Signal; 4] = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];
/// Signals that mean something to the child only.
const PASSED_ON: [Signal; 2] = [Signal::USR1, Signal::USR2];
/// Signals that wait to be handled.
const WAITING_MAX: usize = 16;

/// What a signal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// Stop.
    Stop(Signal),
    /// Pass it on.
    PassOn(Signal),
    /// The terminal has another size.
    Resized,
}

/// Signals, in the order in which they came.
#[derive(Debug)]
pub(super) struct Signals {
    received: mpsc::Receiver<Received>,
}

impl Signals {
    /// Listens from now on. A signal that we were started with as ignored stays ignored, for us
    /// and so for the child.
    pub(super) fn listen() -> io::Result<Self> {
        let (sender, received) = mpsc::channel(WAITING_MAX);
        let stopping = STOPPING.map(|signal| (signal, Received::Stop(signal)));
        let passed_on = PASSED_ON.map(|signal| (signal, Received::PassOn(signal)));
        let resized = [(Signal::WINCH, Received::Resized)];
        for (kind, meaning) in stopping.into_iter().chain(passed_on).chain(resized) {
            if !is_ignored(kind.as_raw()) {
                listen_to(kind, meaning, sender.clone())?;
            }
        }
        if !is_ignored(Signal::XFSZ.as_raw()) {
            // A spool that is larger than a file may be is an error to handle, not an end.
            drop(signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
        }
        Ok(Self { received })
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> Received {
        match self.received.recv().await {
            Some(received) => received,
            None => std::future::pending().await,
        }
    }

    /// Waits until somebody asks to stop.
    pub(super) async fn stop(&mut self) {
        while !matches!(self.next().await, Received::Stop(_)) {}
    }
}

fn listen_to(kind: Signal, meaning: Received, sender: mpsc::Sender<Received>) -> io::Result<()> {
    let mut stream = signal(SignalKind::from_raw(kind.as_raw()))?;
    tokio::spawn(async move {
        while stream.recv().await.is_some() {
            if sender.send(meaning).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}
