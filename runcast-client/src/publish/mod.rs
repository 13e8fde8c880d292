//! Publishes a run's events so that the run never notices the server.
//!
//! [`Publisher::publish`] puts events into a spool (see [`crate::spool`]) and returns; a thread of
//! its own sends them in order, in batches of whatever waits, and tries again for as long as the
//! server is away. Producer sequence numbers make every retry safe: nothing doubles.
//!
//! Never fails and never blocks on a network. What goes wrong is told once, as a [`Notice`].

mod sender;
mod verdict;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use runcast_event::{RunId, Timestamp};
use tokio::sync::watch;

use crate::spool::{Header, MailboxPlace, Spool, SpoolLimits, leftovers};
use crate::{Client, ClientError};
use sender::{Sender, Step};

pub use verdict::Verdict;

/// Bytes of events that wait in memory when the disk does not take them.
pub const MEMORY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of events that a spool keeps on disk, unless told otherwise.
pub const SPOOL_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// What to publish, and where to.
#[derive(Debug, Clone)]
pub struct PublishOptions {
    /// The run.
    pub run: RunId,
    /// Where spools are kept; see [`crate::spool::default_root`].
    pub spool_root: PathBuf,
    /// The most bytes on disk.
    pub spool_bytes_max: u64,
}

/// Something that a person should know, told once each time it becomes so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// There is no spool on disk: events wait in memory only.
    SpoolUnusable {
        /// What the system said.
        reason: String,
    },
    /// The server does not take events for now; they wait.
    ServerAway {
        /// What the network or the server said.
        reason: String,
    },
    /// It takes events again.
    ServerBack,
    /// The server refused an event for good; a gap is in its place. Told of the first one only:
    /// [`Outcome::left_out`] counts them.
    EventRefused {
        /// What the server said.
        reason: String,
    },
    /// The server will take no more events of this run. They are dropped.
    Refused {
        /// What the server said.
        reason: String,
    },
    /// Another process has begun to publish the run since. Events of this one are dropped.
    Replaced,
}

/// How publishing ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Events that the server has.
    pub delivered: u64,
    /// Events that wait in `spool` for a later process to send them.
    pub undelivered: u64,
    /// Events that are nowhere: dropped, and told of by a gap where that was possible.
    pub lost: u64,
    /// Events that the server refused, each for itself: gaps are in their places.
    pub left_out: u64,
    /// The spool that stays.
    pub spool: Option<PathBuf>,
    /// Why the server takes no events of this run.
    pub refused: Option<String>,
}

/// What the sending thread tells.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Sent {
    acknowledged: u64,
    left_out: u64,
    refused: Option<String>,
}

/// What a [`Notice`] is given to.
pub type NoticeFn = Box<dyn Fn(Notice) + Send + Sync>;

/// Publishes one run's events. Dropping it leaves the spool as it is.
pub struct Publisher {
    spool: Arc<Spool>,
    /// Counts up with every append.
    appended: watch::Sender<u64>,
    sent: watch::Receiver<Sent>,
    /// Dropped to end the thread.
    running: watch::Sender<()>,
    thread: JoinHandle<()>,
}

impl Publisher {
    /// Begins to publish a run as the one that does: another process that publishes it so, wherever,
    /// is fenced off. What a process that has ended left unsent here goes first. A spool that cannot
    /// be made is told of and replaced by memory.
    ///
    /// # Panics
    /// When the system gives no thread.
    #[must_use]
    pub fn start(client: Client, options: &PublishOptions, notice: NoticeFn) -> Self {
        let limits = SpoolLimits {
            disk_bytes_max: options.spool_bytes_max,
            memory_bytes_max: MEMORY_BYTES_MAX,
        };
        let url = client.base_url();
        if let Some(spool) = left_spool(options, url, limits) {
            return Self::send(client, spool, true, notice);
        }
        let header = Header::new(options.run.clone(), url.to_owned(), Timestamp::now());
        let (spool, error) = Spool::create(&options.spool_root, header, limits);
        if let Some(error) = error {
            let reason = format!("{}: {error}", options.spool_root.display());
            notice(Notice::SpoolUnusable { reason });
        }
        Self::send(client, spool, true, notice)
    }

    /// Sends the spool that another process has left in `dir`. None while one owns it.
    ///
    /// # Errors
    /// When the spool cannot be read.
    pub fn resume(
        client: Client,
        dir: &std::path::Path,
        notice: NoticeFn,
    ) -> std::io::Result<Option<Self>> {
        let limits = SpoolLimits { disk_bytes_max: u64::MAX, memory_bytes_max: MEMORY_BYTES_MAX };
        let spool = Spool::take_over(dir, limits)?;
        Ok(spool.map(|spool| Self::send(client, spool, false, notice)))
    }

    fn send(client: Client, spool: Spool, claims: bool, notice: NoticeFn) -> Self {
        let spool = Arc::new(spool);
        let (appended, to_send) = watch::channel(0);
        let acknowledged = spool.progress().acknowledged;
        let (report, sent) = watch::channel(Sent { acknowledged, ..Sent::default() });
        let (running, stopped) = watch::channel(());
        let sender = Sender::new(client, Arc::clone(&spool), claims, notice);
        let thread = std::thread::Builder::new()
            .name("runcast-send".to_owned())
            .spawn(move || send_all(sender, to_send, &report, stopped))
            .expect("the system has room for one more thread");
        Self { spool, appended, sent, running, thread }
    }

    /// Publishes events, each one line of JSON that [`runcast_event::parse_event`] accepts.
    ///
    /// Takes as long as writing to the spool's file does. Once the server has refused the run, or
    /// when there is no room, events are counted and dropped.
    pub fn publish(&self, lines: &[Bytes], now: Timestamp) {
        if lines.is_empty() || self.is_refused() {
            return;
        }
        self.spool.append(lines, now);
        self.appended.send_modify(|count| *count += 1);
    }

    /// Publishes the event that ends the run; it is kept whatever the bounds say.
    pub fn publish_last(&self, line: Bytes) {
        if self.is_refused() {
            return;
        }
        self.spool.append_last(line);
        self.appended.send_modify(|count| *count += 1);
    }

    /// Tells of events that were lost before they came here: a gap takes their place.
    pub fn lost(&self, events: u64, bytes: u64, reason: &str, now: Timestamp) {
        self.spool.lose(events, bytes, reason, now);
    }

    /// The place in the run's mailbox that a process that has ended left with its events.
    #[must_use]
    pub fn place_left(&self) -> Option<MailboxPlace> {
        self.spool.place()
    }

    /// Keeps the place in the run's mailbox with the events, for who goes on with the run after this
    /// process was killed: [`Self::place_left`].
    pub fn keep_place(&self, place: &MailboxPlace) {
        // Without it, that process asks the server, which knows all but the last moment.
        drop(self.spool.keep_place(place));
    }

    /// Waits until the server has everything that was published, or will take no more.
    pub async fn delivered(&self) {
        let all = self.spool.progress().next;
        let mut sent = self.sent.clone();
        let done = |sent: &Sent| sent.acknowledged >= all || sent.refused.is_some();
        // An error says that the thread has ended: there is nothing to wait for.
        drop(sent.wait_for(done).await);
    }

    /// Ends the sending. What is not delivered stays in the spool, which is removed if empty.
    #[must_use]
    pub fn close(self) -> Outcome {
        drop(self.running);
        // A panic of the thread leaves events in the spool, and that is what is reported.
        drop(self.thread.join());
        let progress = self.spool.progress();
        let (spool, unsaved) = self.spool.close();
        let Sent { acknowledged, left_out, refused } = self.sent.borrow().clone();
        let dropped = if refused.is_some() { progress.next - acknowledged } else { 0 };
        let waiting = progress.next - progress.acknowledged;
        Outcome {
            delivered: progress.acknowledged - dropped,
            undelivered: waiting - unsaved.min(waiting),
            lost: progress.lost + unsaved + dropped,
            left_out,
            spool,
            refused,
        }
    }

    fn is_refused(&self) -> bool {
        self.sent.borrow().refused.is_some()
    }
}

/// The newest spool of the run that a process has left, taken over.
fn left_spool(options: &PublishOptions, url: &str, limits: SpoolLimits) -> Option<Spool> {
    let spools = leftovers(&options.spool_root).ok()?.spools.into_iter().rev();
    let mut of_run =
        spools.filter(|spool| !spool.in_use && spool.run == options.run && spool.url == url);
    of_run.find_map(|spool| Spool::take_over(&spool.dir, limits).ok().flatten())
}

/// The sending thread.
fn send_all(
    mut sender: Sender<Client>,
    mut to_send: watch::Receiver<u64>,
    report: &watch::Sender<Sent>,
    mut stopped: watch::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return };
    runtime.block_on(async {
        let sending = async {
            loop {
                to_send.mark_unchanged();
                match sender.step().await {
                    Step::Sent => {
                        let (acknowledged, left_out) = (sender.acknowledged(), sender.left_out());
                        report.send_modify(|sent| {
                            sent.acknowledged = acknowledged;
                            sent.left_out = left_out;
                        });
                    }
                    Step::Idle => {
                        if to_send.changed().await.is_err() {
                            return;
                        }
                    }
                    Step::Wait(time) => tokio::time::sleep(time).await,
                    Step::Refused(reason) => {
                        report.send_modify(|sent| sent.refused = Some(reason));
                        sender.discard();
                        return;
                    }
                }
            }
        };
        tokio::select! {
            () = sending => {}
            _ = stopped.changed() => {}
        }
    });
    // A name that is being looked up must not hold anybody.
    runtime.shutdown_background();
}

/// Sends lines of events to a server.
trait Courier {
    /// Appends to the run's stream; answers once they are durable.
    async fn send(
        &self,
        run: &RunId,
        lines: Bytes,
        producer: &crate::Producer,
    ) -> Result<(), ClientError>;
}

impl Courier for Client {
    async fn send(
        &self,
        run: &RunId,
        lines: Bytes,
        producer: &crate::Producer,
    ) -> Result<(), ClientError> {
        self.append_lines(run, lines, Some(producer)).await.map(|_| ())
    }
}
