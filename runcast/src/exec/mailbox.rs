//! Hears what is asked of the run, and by that tells the server that its process lives.
//!
//! A task of its own, with connections of its own: a server that is slow, gone or unwilling holds
//! nobody. What was dealt with before this process is not heard again; see [`Since`].

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use runcast_client::spool::MailboxPlace;
use runcast_client::{Backoff, Client, ClientError, FollowItem, FollowState, RunInfo};
use runcast_event::{Cursor, Event, RunId};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::request::Request;
use super::tell::tell;

/// Events that were heard and wait to be dealt with. More wait at the server.
const HEARD_WAITING_MAX: usize = 64;
/// While the mailbox is not open, a sign of life is given so many times until the run would be lost.
const HEARTBEATS: u32 = 3;
/// Never more often than this.
const HEARTBEAT_EVERY_MIN: Duration = Duration::from_millis(100);
/// How the server ends a run whose time is up.
const TIMED_OUT: &str = "run.timed_out";

/// Something that the run is told.
#[derive(Debug)]
pub(super) enum Heard {
    /// An event of its mailbox, and its place there.
    Said { event: Event, at: Cursor },
    /// The run's time is up: it has ended, its process has not.
    TimeUp,
}

/// Whose mailbox it is, and how to open it.
pub(super) struct Address {
    pub(super) client: Client,
    pub(super) run: RunId,
    /// Whether the run is made by this process, so that nothing can have been dealt with before.
    pub(super) is_new: bool,
    /// What an ended process of the same run has left.
    pub(super) place_left: oneshot::Receiver<Option<MailboxPlace>>,
    /// Told when another process has the run: it hears what the run is asked, and gives signs of life.
    pub(super) replaced: Arc<Notify>,
    pub(super) lost_after: Duration,
    /// False only to give signs of life.
    pub(super) listens: bool,
    pub(super) is_quiet: bool,
}

/// The mailbox. Closed when dropped.
#[derive(Debug)]
pub(super) struct Mailbox {
    heard: mpsc::Receiver<Heard>,
    task: JoinHandle<()>,
}

impl Mailbox {
    /// Opens the mailbox, when there is a server.
    pub(super) fn open(address: Address) -> Self {
        let (tell, heard) = mpsc::channel(HEARD_WAITING_MAX);
        Self { heard, task: tokio::spawn(address.listen(tell)) }
    }

    /// The next thing that is said. Nothing is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Heard {
        match self.heard.recv().await {
            Some(heard) => heard,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Address {
    async fn listen(self, heard: mpsc::Sender<Heard>) {
        let replaced = Arc::clone(&self.replaced);
        tokio::select! {
            () = self.hear(heard) => {}
            () = replaced.notified() => {}
        }
    }

    async fn hear(mut self, heard: mpsc::Sender<Heard>) {
        if self.listens {
            match self.follow(&heard).await {
                Ok(()) => return,
                Err(error) if self.is_quiet => drop(error),
                Err(error) => tell(&format!("what is asked of this run is not heard: {error}")),
            }
        }
        match self.keep_alive().await {}
    }

    /// Hears until the run's end.
    async fn follow(&mut self, heard: &mpsc::Sender<Heard>) -> Result<(), ClientError> {
        let (_, no_place) = oneshot::channel();
        let place_left = std::mem::replace(&mut self.place_left, no_place);
        let this = &*self;
        let alive = this.keep_alive();
        tokio::pin!(alive);
        let since = tokio::select! {
            since = this.since(place_left) => since,
            never = &mut alive => match never {},
        };
        // From the beginning, also where most of it was dealt with: there are few such events.
        let mut follower = this.client.follow_commands(&this.run, Cursor::START);
        let mut is_open = false;
        loop {
            let item = tokio::select! {
                item = follower.next() => item,
                never = &mut alive, if !is_open => match never {},
            };
            let Some(item) = item.transpose()? else { return Ok(()) };
            let told = match item {
                FollowItem::State(state) => {
                    is_open = state == FollowState::Live;
                    continue;
                }
                FollowItem::Event(event) => {
                    let at = follower.cursor();
                    since.is_new(&event, at).then_some(Heard::Said { event, at })
                }
                FollowItem::End { event_type } => {
                    (event_type.as_deref() == Some(TIMED_OUT)).then_some(Heard::TimeUp)
                }
                // What was said in a gap is lost to everybody.
                FollowItem::Gap(_) | FollowItem::Deleted => None,
            };
            if let Some(told) = told
                && heard.send(told).await.is_err()
            {
                return Ok(());
            }
        }
    }

    /// Gives signs of life for ever.
    async fn keep_alive(&self) -> Infallible {
        let every = (self.lost_after / HEARTBEATS).max(HEARTBEAT_EVERY_MIN);
        loop {
            sleep(every).await;
            // A server that is away does not count the time either.
            drop(self.client.heartbeat(&self.run).await);
        }
    }

    /// Finds out what was dealt with before, as soon as there is a server to ask.
    async fn since(&self, place_left: oneshot::Receiver<Option<MailboxPlace>>) -> Since {
        if self.is_new {
            return Since::default();
        }
        let place = place_left.await;
        let mut backoff = Backoff::new();
        loop {
            match self.client.run(&self.run).await {
                Ok(run) => return Since::new(place.ok().flatten(), &run),
                Err(error) if error.is_retryable() => sleep(backoff.failed()).await,
                // There is no such run yet, or no more: whatever is said from now on is new.
                Err(_) => return Since::default(),
            }
        }
    }
}

/// What was dealt with before this process: by what an earlier one of the same run has noted beside
/// its events, and by what the server knows.
#[derive(Debug, Default)]
struct Since {
    place: Option<MailboxPlace>,
    /// Where the server's knowledge ends.
    known_to: Cursor,
    /// The status of the commands that it knew.
    known: HashMap<String, String>,
}

impl Since {
    fn new(place: Option<MailboxPlace>, run: &RunInfo) -> Self {
        // A place in another history is none: the run was deleted and made again.
        let place = place.filter(|place| {
            place.cursor.epoch == run.cursor.epoch && place.cursor.after <= run.cursor.after
        });
        let commands = run.commands().into_iter();
        let known = commands.map(|command| (command.command, command.status)).collect();
        Self { place, known_to: run.cursor, known }
    }

    /// Whether this is to be dealt with.
    ///
    /// What exec carries out itself stays to be done until it is done: a process that was killed
    /// while it did has left it to the next. Of everything else the child that heard it is gone, and
    /// the next one does not hear it again.
    fn is_new(&self, event: &Event, at: Cursor) -> bool {
        let is_known = at.epoch == self.known_to.epoch && at.after <= self.known_to.after;
        if !is_known {
            return true;
        }
        let was_taken = self.place.as_ref().is_some_and(|place| place.has(at));
        match Request::of(event) {
            None => self.place.is_some() && !was_taken,
            Some(request) => match self.known.get(&request.command).map(String::as_str) {
                Some("requested") => request.is_for_exec() || !was_taken,
                Some("delivered") => request.is_for_exec(),
                _ => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(cursor: &str, commands: &[(&str, &str)]) -> RunInfo {
        let commands = commands
            .iter()
            .map(|(command, status)| json!({"command": command, "name": "x", "status": status}));
        let time = "2026-11-20T21:16:00Z";
        let state = json!({
            "id": "run", "status": "running", "is_terminal": false, "created_at": time,
            "offset": 9, "cursor": cursor, "commands": commands.collect::<Vec<_>>(),
        });
        serde_json::from_value(state).unwrap()
    }

    fn place(cursor: &str, waiting: &[u64]) -> Option<MailboxPlace> {
        let waiting = waiting.iter().map(|offset| runcast_event::Offset::new(*offset)).collect();
        Some(MailboxPlace { cursor: cursor.parse().unwrap(), waiting })
    }

    /// Whether `command` with this name, at this place, is to be dealt with.
    fn asks(since: &Since, command: &str, name: &str, at: &str) -> bool {
        let data = json!({"command": command, "name": name});
        is_new(since, "command.requested", &data, at)
    }

    fn is_new(since: &Since, event_type: &str, data: &serde_json::Value, at: &str) -> bool {
        let at: Cursor = at.parse().unwrap();
        let json = json!({
            "offset": at.after, "type": event_type, "time": "2026-11-20T21:16:00Z", "data": data,
        });
        since.is_new(&Event::from_json(json.to_string().as_bytes()).unwrap(), at)
    }

    #[test]
    fn a_run_that_is_new_hears_everything() {
        assert!(asks(&Since::default(), "c", "set", "1"));
        assert!(asks(&Since::default(), "c", "set", "2.1"));
    }

    #[test]
    fn of_what_the_server_knew_only_what_is_open_is_dealt_with() {
        let commands = [("open", "requested"), ("had", "delivered"), ("over", "done")];
        let since = Since::new(None, &run("9", &commands));
        assert!(asks(&since, "open", "set", "3"));
        assert!(!asks(&since, "had", "set", "4"), "the child that had it is gone");
        assert!(asks(&since, "had", "stop", "4"), "a stop stays until it is done");
        assert!(!asks(&since, "over", "stop", "5"));
        assert!(!is_new(&since, "input.answered", &json!({"input":"i"}), "6"));
        assert!(asks(&since, "later", "set", "10"));
        assert!(is_new(&since, "input.answered", &json!({"input":"i"}), "11"));
    }

    #[test]
    fn what_an_earlier_process_took_is_not_taken_again_although_the_server_does_not_know() {
        let commands = [("waits", "requested"), ("taken", "requested"), ("stop", "requested")];
        let since = Since::new(place("7", &[3]), &run("9", &commands));
        assert!(asks(&since, "waits", "set", "3"));
        assert!(!asks(&since, "taken", "set", "5"));
        assert!(asks(&since, "stop", "stop", "6"));
        assert!(!is_new(&since, "input.answered", &json!({"input":"i"}), "7"));
        assert!(is_new(&since, "input.answered", &json!({"input":"i"}), "8"));
    }

    #[test]
    fn a_place_in_another_history_is_none() {
        let commands = [("open", "requested")];
        for cursor in ["7", "2.12"] {
            let since = Since::new(place(cursor, &[]), &run("2.9", &commands));
            assert!(asks(&since, "open", "set", "2.3"), "{cursor}");
        }
    }
}
