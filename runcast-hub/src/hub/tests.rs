use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use runcast_log::{MemoryLog, NewEvents, NotAdmitted, Record};

use super::*;
use crate::{Delivery, Format, GapReason, Slice};

fn hub_with(config: HubConfig) -> Hub {
    let builder = HubBuilder::new(config);
    let log = MemoryLog::new(builder.observer());
    builder.build(log)
}

fn run(name: &str) -> RunId {
    RunId::new(name).unwrap()
}

fn batch(name: &str, count: usize, close: bool) -> Append {
    Append {
        run: run(name),
        events: (0..count).map(|n| Bytes::from(format!("event {n}"))).collect(),
        close,
        expected_last: None,
        producer: None,
        create: true,
    }
}

/// Waits for the next delivery; a test that waits longer than this has found a lost wake-up.
async fn next(follower: &mut Follower) -> Delivery {
    tokio::time::timeout(Duration::from_secs(20), follower.next()).await.expect("a delivery")
}

async fn offsets_until_end(follower: &mut Follower) -> Vec<u64> {
    let mut offsets = Vec::new();
    loop {
        match next(follower).await {
            Delivery::Events(slice) => {
                offsets.extend(slice.records().iter().map(|record| record.offset.get()));
            }
            Delivery::End { last } => {
                assert_eq!(offsets.last(), Some(&last.get()));
                return offsets;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn events(delivery: Delivery) -> Slice {
    match delivery {
        Delivery::Events(slice) => slice,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_follower_before_during_and_after_a_run_sees_the_same_events() {
    let hub = hub_with(HubConfig::default());
    let mut before = hub.follow(&run("r"), Cursor::START).await.unwrap();
    hub.append(batch("r", 3, false)).await.unwrap();
    let mut during = hub.follow(&run("r"), Cursor::START).await.unwrap();
    hub.append(batch("r", 2, true)).await.unwrap();
    let mut after = hub.follow(&run("r"), Cursor::START).await.unwrap();
    for follower in [&mut before, &mut during, &mut after] {
        assert_eq!(offsets_until_end(follower).await, [1, 2, 3, 4, 5]);
    }
}

#[tokio::test]
async fn a_reader_resumes_after_the_last_event_it_saw() {
    let hub = hub_with(HubConfig::default());
    hub.append(batch("r", 10, true)).await.unwrap();
    let mut follower = hub.follow(&run("r"), "7".parse().unwrap()).await.unwrap();
    assert_eq!(follower.cursor().to_string(), "7");
    assert_eq!(offsets_until_end(&mut follower).await, [8, 9, 10]);
    assert_eq!(follower.cursor().to_string(), "10");
}

#[tokio::test]
async fn a_cursor_in_the_future_is_refused_with_the_last_offset() {
    let hub = hub_with(HubConfig::default());
    let future = "5".parse().unwrap();
    let error = hub.follow(&run("r"), future).await.unwrap_err();
    assert_eq!(error, FollowError::OffsetInFuture { last: Offset::START });
    hub.append(batch("r", 3, false)).await.unwrap();
    let error = hub.follow(&run("r"), future).await.unwrap_err();
    assert_eq!(error, FollowError::OffsetInFuture { last: Offset::new(3) });
    assert_eq!(hub.followers(), 0);
}

#[tokio::test]
async fn a_slow_reader_goes_on_from_the_log() {
    let hub = hub_with(HubConfig { tail_bytes_max: 1, page_events_max: 7, ..HubConfig::default() });
    let mut follower = hub.follow(&run("r"), Cursor::START).await.unwrap();
    for _ in 0..20 {
        hub.append(batch("r", 5, false)).await.unwrap();
    }
    hub.append(batch("r", 1, true)).await.unwrap();
    assert_eq!(offsets_until_end(&mut follower).await, (1..=101).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_live_batch_is_encoded_once_for_all_its_followers() {
    let hub = hub_with(HubConfig::default());
    let mut followers = Vec::new();
    for _ in 0..5 {
        followers.push(hub.follow(&run("r"), Cursor::START).await.unwrap());
    }
    hub.append(batch("r", 3, false)).await.unwrap();
    let mut encodings = 0;
    let mut frames = Vec::new();
    for follower in &mut followers {
        let slice = events(next(follower).await);
        frames.push(slice.encoded(Format::Sse, |epoch, records, out| {
            encodings += 1;
            out.extend_from_slice(format!("{epoch} {}", records.len()).as_bytes());
        }));
    }
    assert_eq!(encodings, 1);
    assert!(frames.iter().all(|frame| frame.as_ptr() == frames[0].as_ptr()));
    assert_eq!(frames[0], "1 3");
}

#[tokio::test]
async fn a_follower_that_joins_inside_a_batch_gets_the_rest_of_it() {
    let hub = hub_with(HubConfig::default());
    let mut whole = hub.follow(&run("r"), Cursor::START).await.unwrap();
    hub.append(batch("r", 4, false)).await.unwrap();
    let mut part = hub.follow(&run("r"), "2".parse().unwrap()).await.unwrap();
    let encode = |_: Epoch, records: &[runcast_log::Record], out: &mut Vec<u8>| {
        out.extend(records.iter().map(|record| record.offset.get() as u8));
    };
    assert_eq!(*events(next(&mut whole).await).encoded(Format::Sse, encode), [1, 2, 3, 4]);
    assert_eq!(*events(next(&mut part).await).encoded(Format::Sse, encode), [3, 4]);
}

#[tokio::test]
async fn a_follower_of_a_deleted_run_is_told_and_does_not_see_the_next_incarnation() {
    let hub = hub_with(HubConfig::default());
    hub.append(batch("r", 2, false)).await.unwrap();
    let mut follower = hub.follow(&run("r"), Cursor::START).await.unwrap();
    events(next(&mut follower).await);
    hub.delete(&run("r")).await.unwrap();
    let refused = hub.follow(&run("r"), Cursor::START).await.unwrap_err();
    assert_eq!(refused, FollowError::Read(ReadError::Deleted));
    hub.append(batch("r", 5, false)).await.unwrap();
    assert!(matches!(next(&mut follower).await, Delivery::Deleted));
    let mut newer = hub.follow(&run("r"), "2".parse().unwrap()).await.unwrap();
    let Delivery::Gap(gap) = next(&mut newer).await else { panic!("a gap") };
    assert_eq!((gap.from.get(), gap.to.get(), gap.reason), (1, 2, GapReason::EpochChanged));
    assert_eq!(events(next(&mut newer).await).records().len(), 5);
    assert_eq!(newer.cursor().to_string(), "2.5");
}

#[tokio::test]
async fn followers_are_bounded_and_a_place_is_free_again_when_one_leaves() {
    let hub = hub_with(HubConfig { followers_max: 1, ..HubConfig::default() });
    let follower = hub.follow(&run("a"), Cursor::START).await.unwrap();
    let refused = hub.follow(&run("b"), Cursor::START).await.unwrap_err();
    assert_eq!(refused, FollowError::TooManyFollowers { max: 1 });
    drop(follower);
    assert!(hub.follow(&run("b"), Cursor::START).await.is_ok());
}

#[tokio::test]
async fn the_memory_of_all_tails_is_bounded_and_given_back() {
    let bytes_max = 2_000;
    let hub = hub_with(HubConfig { tails_bytes_max: bytes_max, ..HubConfig::default() });
    let held = || hub.fanout.budget.total_bytes.load(Ordering::Relaxed);
    let mut followers = Vec::new();
    for n in 0..20 {
        let name = format!("r{n}");
        followers.push(hub.follow(&run(&name), Cursor::START).await.unwrap());
        hub.append(batch(&name, 10, true)).await.unwrap();
        assert!(held() <= bytes_max);
    }
    for follower in &mut followers {
        assert_eq!(offsets_until_end(follower).await.len(), 10);
    }
    drop(followers);
    assert_eq!(held(), 0);
}

#[tokio::test]
async fn changes_name_each_run_once_until_they_are_taken() {
    let hub = hub_with(HubConfig::default());
    let mut changes = hub.changes();
    for name in ["a", "b", "a"] {
        hub.append(batch(name, 1, false)).await.unwrap();
    }
    let mut names = changes.next().await;
    names.sort();
    assert_eq!(names, [run("a"), run("b")]);
    hub.delete(&run("b")).await.unwrap();
    assert_eq!(changes.next().await, [run("b")]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_follower_sees_every_event_once_and_in_order(
        sizes in prop::collection::vec(1_usize..20, 1..40),
        joins in prop::collection::vec((0_usize..40, 0_u64..100), 1..8),
        tail_bytes_max in 1_usize..3_000,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2).enable_time().build().unwrap();
        runtime.block_on(async {
            let config = HubConfig { tail_bytes_max, page_events_max: 9, ..HubConfig::default() };
            let hub = hub_with(config);
            let mut readers = Vec::new();
            let mut total = 0;
            for (at, size) in sizes.iter().enumerate() {
                for (_, after) in joins.iter().filter(|(join, _)| join % sizes.len() == at) {
                    let cursor = Cursor::new(Epoch::FIRST, Offset::new((*after).min(total)));
                    let mut follower = hub.follow(&run("r"), cursor).await.unwrap();
                    readers.push(tokio::spawn(async move {
                        (cursor.after.get(), offsets_until_end(&mut follower).await)
                    }));
                }
                hub.append(batch("r", *size, at + 1 == sizes.len())).await.unwrap();
                total += *size as u64;
            }
            for reader in readers {
                let (after, seen) = reader.await.unwrap();
                assert_eq!(seen, (after + 1..=total).collect::<Vec<_>>());
            }
        });
    }
}

#[derive(Default)]
struct Woken(Mutex<Vec<u64>>);

impl TailWaker for Woken {
    fn wake(&self, token: u64) {
        self.0.lock().unwrap().push(token);
    }
}

#[tokio::test]
async fn a_watch_is_woken_once_a_commit_and_looks_for_many_readers() {
    let hub = hub_with(HubConfig { tail_bytes_max: 150, ..HubConfig::default() });
    let woken = Arc::new(Woken::default());
    let watch = hub.watch(&run("r"), 7, Arc::clone(&woken) as Arc<dyn TailWaker>);
    let position = watch.position(Cursor::START).await.unwrap();
    assert!(matches!(watch.look(Offset::new(1), position.deletions), crate::Look::NotYet));
    hub.append(batch("r", 2, false)).await.unwrap();
    hub.append(batch("r", 2, true)).await.unwrap();
    assert_eq!(*woken.0.lock().unwrap(), [7, 7]);
    assert!(matches!(watch.look(Offset::new(1), position.deletions), crate::Look::InLog));
    let crate::Look::Events(slice) = watch.look(Offset::new(4), position.deletions) else {
        panic!("the newest events are in the tail")
    };
    assert_eq!((slice.records().len(), slice.last().get()), (1, 4));
    assert!(matches!(watch.look(Offset::new(5), position.deletions), crate::Look::End));
    hub.delete(&run("r")).await.unwrap();
    assert!(matches!(watch.look(Offset::new(5), position.deletions), crate::Look::Deleted));
    drop(watch);
    hub.append(batch("r", 1, false)).await.unwrap();
    assert_eq!(woken.0.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn places_are_shared_by_followers_and_other_readers() {
    let hub = hub_with(HubConfig { followers_max: 1, ..HubConfig::default() });
    let place = hub.admit().unwrap();
    assert!(hub.follow(&run("a"), Cursor::START).await.is_err());
    assert!(hub.admit().is_err());
    drop(place);
    assert!(hub.admit().is_ok());
    assert_eq!(hub.followers(), 0);
}

#[tokio::test]
async fn what_is_appended_is_counted_and_what_is_refused_is_not() {
    let hub = hub_with(HubConfig::default());
    let stamp = runcast_log::ProducerStamp {
        id: runcast_event::ProducerId::new("p").unwrap(),
        epoch: 0,
        sequence: 0,
    };
    let stamped = Append { producer: Some(stamp), ..batch("r", 3, false) };
    hub.append(stamped.clone()).await.unwrap();
    hub.append(Append { close: true, ..stamped }).await.unwrap();
    hub.append(batch("r", 1, true)).await.unwrap();
    hub.append(batch("r", 1, false)).await.unwrap_err();
    let stats = hub.measure();
    assert_eq!((stats.append_batches, stats.append_events, stats.append_duplicates), (3, 4, 3));
    assert_eq!(stats.append_bytes, 7 * "event 0".len() as u64);
    assert_eq!(stats.append_ns.count(), 3);
    assert_eq!((hub.measure_log().streams, hub.measure_log().events), (1, 4));
}

#[tokio::test]
async fn a_catch_up_is_counted_once_with_how_far_it_has_to_go() {
    let hub = hub_with(HubConfig { page_events_max: 2, ..HubConfig::default() });
    hub.append(batch("r", 9, false)).await.unwrap();
    let mut follower = hub.follow(&run("r"), Cursor::START).await.unwrap();
    for _ in 0..5 {
        assert_eq!(events(next(&mut follower).await).committed_at(), None);
    }
    hub.append(batch("r", 1, true)).await.unwrap();
    assert!(events(next(&mut follower).await).committed_at().is_some());
    let stats = hub.measure();
    assert_eq!((stats.catch_up_events.count(), stats.catch_up_events.sum), (1, 9));
    assert_eq!((stats.followers, stats.tails), (1, 1));
    assert!(stats.tails_bytes > 0);
    drop(follower);
    assert_eq!(
        (hub.measure().followers, hub.measure().tails, hub.measure().tails_bytes),
        (0, 0, 0)
    );
}

#[test]
fn a_backlog_is_what_its_reader_has_not_taken() {
    let hub = hub_with(HubConfig::default());
    let changes = hub.changes();
    let backlog = changes.backlog();
    for name in ["a", "b", "a"] {
        changes.0.add(&run(name));
    }
    assert_eq!(backlog.runs(), 2);
    drop(changes);
    assert_eq!(backlog.runs(), 0);
}

/// A gate that has to read the run `slow` before it can judge its events.
struct SlowGate {
    is_known: tokio::sync::watch::Sender<bool>,
}

impl Gate for SlowGate {
    fn is_ready(&self, run: &RunId) -> bool {
        *self.is_known.borrow() || run.as_str() != "slow"
    }

    fn make_ready<'a>(
        &'a self,
        _: &'a Hub,
        _: &'a RunId,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        let mut is_known = self.is_known.subscribe();
        Box::pin(async move { drop(is_known.wait_for(|is_known| *is_known).await) })
    }

    fn admit(&self, _: NewEvents<'_>) -> Result<Vec<Bytes>, NotAdmitted> {
        Ok(Vec::new())
    }

    fn deletion(&self, _: &RunId) -> Option<Bytes> {
        None
    }

    fn stored(&self, _: &RunId, _: &[Record], _: &StreamStat) {}

    fn undo(&self, _: &RunId) {}

    fn forget(&self, _: &RunId) {}
}

#[tokio::test]
async fn nobody_appends_before_one_who_waits_until_the_gate_knows_the_run() {
    let hub = hub_with(HubConfig::default());
    let gate = Arc::new(SlowGate { is_known: tokio::sync::watch::Sender::new(false) });
    hub.set_gate(Arc::clone(&gate) as _).await.unwrap();
    let append = |name: &str, text: &'static str| {
        let events = vec![Bytes::from_static(text.as_bytes())];
        Box::pin(hub.append(Append { events, ..batch(name, 1, false) }))
    };
    let mut first = append("slow", "begin");
    let mut second = append("slow", "then");
    assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
    assert!(poll(&mut append("other", "at once")).is_ready());
    gate.is_known.send_replace(true);
    assert!(poll(&mut second).is_pending());
    assert_eq!(first.await.unwrap().last.get(), 1);
    assert_eq!(second.await.unwrap().last.get(), 2);
    assert!(poll(&mut append("slow", "later")).is_ready());
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::pin::Pin::new(future).poll(&mut context)
}
