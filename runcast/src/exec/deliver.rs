//! The end of `exec`: the child has ended, the server may not have all events yet.

use std::time::Duration;

use runcast_client::publish::{Outcome, Publisher};
use runcast_client::spool::default_root;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::args::Args;
use super::signals::Signals;
use super::tell::tell;

/// How long the last output may take to get to the spool. Only a disk that hangs takes longer.
const RECORD_WAIT_MAX: Duration = Duration::from_secs(30);
/// After so long a person is told what is being waited for.
const SILENT_WAIT: Duration = Duration::from_secs(1);

/// Waits for the server to have all events, as long as the arguments allow and nobody asks to stop,
/// and says what is left.
pub(super) async fn deliver(
    recorded: oneshot::Receiver<Publisher>,
    args: &Args,
    signals: &mut Signals,
) {
    let publisher = tokio::select! {
        publisher = timeout(RECORD_WAIT_MAX, recorded) => publisher,
        () = signals.stop() => return tell("the last events are not on disk; stopped waiting"),
    };
    let Ok(Ok(publisher)) = publisher else {
        return tell("the last events are not on disk: writing to the spool takes too long");
    };
    if !args.no_wait {
        tokio::select! {
            () = wait_for(&publisher, args) => {}
            () = signals.stop() => {}
        }
    }
    say(&publisher.close(), args);
}

async fn wait_for(publisher: &Publisher, args: &Args) {
    let delivered = publisher.delivered();
    tokio::pin!(delivered);
    let silent = SILENT_WAIT.min(args.drain_timeout);
    tokio::select! {
        () = &mut delivered => return,
        () = sleep(silent) => {}
    }
    let left = args.drain_timeout - silent;
    if !left.is_zero() && !args.quiet {
        tell(&format!(
            "waiting up to {} s for the server to take the last events; Ctrl-C ends the waiting",
            left.as_secs()
        ));
    }
    tokio::select! {
        () = delivered => {}
        () = sleep(left) => {}
    }
}

fn say(outcome: &Outcome, args: &Args) {
    if outcome.undelivered > 0 {
        let root = args.spool.root();
        let place = if root == default_root() {
            String::new()
        } else {
            format!(" --spool-dir {}", root.display())
        };
        let count = count_of(outcome.undelivered);
        tell(&format!("{count} not delivered yet; to deliver: runcast spool send{place}"));
    }
    if outcome.left_out > 1 {
        tell(&format!("the server refused {} events", outcome.left_out));
    }
    if outcome.lost > 0 {
        tell(&format!("{} lost", count_of(outcome.lost)));
    }
}

fn count_of(events: u64) -> String {
    if events == 1 { "1 event is".to_owned() } else { format!("{events} events are") }
}
