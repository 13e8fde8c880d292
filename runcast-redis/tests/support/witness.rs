//! Producers that go on whatever happens to Redis, and witnesses that follow them and must end with what is
//! there, or have been told what is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use runcast_contract::{run, stamped};
use runcast_event::Cursor;
use runcast_hub::{Delivery, GapReason, Hub, HubBuilder, HubConfig};
use runcast_log::{AppendError, Log};
use runcast_redis::{RedisLog, RedisOptions};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Long enough for anything that is tested.
pub const SOON: Duration = Duration::from_secs(40);
/// How long to wait before something is tried again.
const AGAIN: Duration = Duration::from_millis(5);

/// A node and its hub.
pub async fn hub_with(options: RedisOptions) -> (Hub, Arc<RedisLog>) {
    let builder = HubBuilder::new(HubConfig::default());
    let log = RedisLog::open(options, builder.observer()).await.unwrap();
    (builder.build(Arc::clone(&log) as Arc<dyn Log>), log)
}

/// Appends events of one producer to a run, until it is told that it is enough.
pub struct Producer {
    enough: Arc<AtomicBool>,
    /// Events that were acknowledged.
    pub stored: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Producer {
    pub fn start(log: &Arc<RedisLog>, name: &str, id: &str) -> Self {
        let (enough, stored) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (log, name, id) = (Arc::clone(log), name.to_owned(), id.to_owned());
        let (is_enough, counted) = (Arc::clone(&enough), Arc::clone(&stored));
        let task = tokio::spawn(async move {
            let mut at = 0;
            while !is_enough.load(Ordering::Relaxed) {
                let size = at % 3 + 1;
                at = append_surely(&log, (&name, &id), at, size).await;
                counted.fetch_add(size, Ordering::Relaxed);
            }
        });
        Self { enough, stored, task }
    }

    /// Waits until so many more events are acknowledged.
    pub async fn goes_on(&self, more: u64) {
        let want = self.stored.load(Ordering::Relaxed) + more;
        let going = async {
            while self.stored.load(Ordering::Relaxed) < want {
                sleep(AGAIN).await;
            }
        };
        timeout(SOON, going).await.expect("appends do not go on");
    }

    pub async fn end(self) {
        self.enough.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
    }
}

/// Appends until it is stored; gives the sequence that is next. What was lost is sent again, as a producer
/// with a spool does.
async fn append_surely(log: &RedisLog, (name, id): (&str, &str), mut at: u64, size: u64) -> u64 {
    let until = Instant::now() + SOON;
    loop {
        let texts: Vec<String> = (at..at + size).map(|number| format!("{id} {number}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        match log.append(stamped(name, &texts, id, 0, at)).await {
            Ok(_) => return at + size,
            Err(AppendError::SequenceGap { expected, .. }) => at = expected,
            Err(AppendError::Unavailable { .. }) => sleep(AGAIN).await,
            Err(other) => panic!("{other:?}"),
        }
        assert!(Instant::now() < until, "it is never stored");
    }
}

/// All that a run has, which is each producer's events once and in its order.
pub async fn history(log: &RedisLog, name: &str) -> Vec<String> {
    let events = runcast_contract::events(log, name).await.unwrap();
    let mut ids: Vec<&str> = events.iter().map(|text| text.split_once(' ').unwrap().0).collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let own = events.iter().filter_map(|text| text.strip_prefix(id)?.strip_prefix(' '));
        let own: Vec<u64> = own.map(|number| number.parse().unwrap()).collect();
        assert!(own.iter().copied().eq(0..own.len() as u64), "{id} in {name}: {own:?}");
    }
    events
}

/// What a witness believes.
#[derive(Default)]
pub struct Seen {
    pub events: Vec<String>,
    /// It was told that so many are lost that it had.
    pub lost: u64,
}

/// Follows a run until it has so many events, whatever happens.
pub fn witness(
    hub: &Hub,
    name: &str,
    count: tokio::sync::watch::Receiver<u64>,
) -> JoinHandle<Seen> {
    let (hub, name, mut count) = (hub.clone(), run(name), count);
    tokio::spawn(async move {
        let mut seen = Seen::default();
        let mut cursor = Cursor::START;
        let until = Instant::now() + SOON * 2;
        loop {
            let Ok(mut follower) = hub.follow(&name, cursor).await else {
                assert!(Instant::now() < until, "{name} cannot be followed any more");
                sleep(AGAIN).await;
                continue;
            };
            loop {
                let want = *count.borrow_and_update();
                if want > 0 && seen.events.len() as u64 >= want {
                    return seen;
                }
                let delivery = tokio::select! {
                    delivery = follower.next() => delivery,
                    Ok(()) = count.changed() => continue,
                    () = tokio::time::sleep_until(until) => {
                        panic!("{name} hangs at {} of {want}", seen.events.len())
                    }
                };
                match delivery {
                    Delivery::Events(slice) => seen.take(slice.records()),
                    Delivery::Gap(gap) => {
                        assert_eq!(gap.reason, GapReason::EpochChanged, "{name}: {gap:?}");
                        let kept = usize::try_from(gap.from.get()).unwrap() - 1;
                        seen.lost += gap.to.get() - gap.from.get() + 1;
                        seen.events.truncate(kept);
                    }
                    Delivery::Failed { .. } => break,
                    other => panic!("{name} is told {other:?}"),
                }
                cursor = follower.cursor();
            }
        }
    })
}

impl Seen {
    fn take(&mut self, records: &[runcast_log::Record]) {
        for record in records {
            assert_eq!(record.offset.get(), self.events.len() as u64 + 1, "no hole");
            self.events.push(String::from_utf8(record.payload.to_vec()).unwrap());
        }
    }
}
