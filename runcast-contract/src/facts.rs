//! What every engine promises, as facts that each engine is put through.

#![allow(missing_docs)]

use std::sync::Arc;

use runcast_event::{Epoch, Offset, RunId};
use runcast_log::{
    Append, AppendError, Appended, BASE_BYTES_MAX, Committed, DeleteError, LogHealth, ReadError,
    ReadLimit, Trim,
};

use crate::{ALL, Engine, batch, events, feed, run, stamped, texts};

fn appended(epoch: u32, last: u64, stored: u64, duplicates: u64) -> Appended {
    let (epoch, last) = (Epoch::new(epoch).unwrap(), Offset::new(last));
    Appended { epoch, last, stored, duplicates }
}

pub async fn offsets_are_given_without_a_hole(engine: Engine) {
    let log = engine.log;
    assert_eq!(log.append(batch("a", &["1", "2"])).await, Ok(appended(1, 2, 2, 0)));
    assert_eq!(log.append(batch("b", &["1"])).await, Ok(appended(1, 1, 1, 0)));
    assert_eq!(log.append(batch("a", &["3"])).await, Ok(appended(1, 3, 1, 0)));
    assert_eq!(events(&*log, "a").await.unwrap(), ["1", "2", "3"]);
    let stat = log.stat(&run("a")).await.unwrap().unwrap();
    assert_eq!((stat.first.get(), stat.last.get(), stat.closed), (1, 3, false));
    assert_eq!((stat.epoch, stat.epoch_bases.len()), (Epoch::FIRST, 0));
}

pub async fn a_page_ends_at_its_limits(engine: Engine) {
    let log = engine.log;
    for at in 0..40 {
        log.append(batch("other", &["x"])).await.unwrap();
        let text = format!("{at:05}");
        log.append(batch("a", &[&text, "", &text])).await.unwrap();
    }
    for after in 0..=120_u64 {
        for events_max in [0, 1, 2, 3, 4, 7, 50] {
            let limit = ReadLimit { events_max, bytes_max: usize::MAX };
            let page = log.read(&run("a"), Offset::new(after), limit).await.unwrap();
            let count = (events_max.max(1) as u64).min(120 - after);
            let offsets = page.records.iter().map(|record| record.offset.get());
            assert!(offsets.eq(after + 1..=after + count), "{after} {events_max}");
        }
    }
    let read = async |after, bytes_max| {
        let limit = ReadLimit { events_max: 100, bytes_max };
        let page = log.read(&run("a"), Offset::new(after), limit).await.unwrap();
        texts(&page).into_iter().map(|(_, text)| text).collect::<Vec<_>>()
    };
    assert_eq!(read(0, 0).await, ["00000"]);
    assert_eq!(read(1, 5).await, ["", "00000"]);
    assert_eq!(read(1, 9).await, ["", "00000"]);
    assert_eq!(read(1, 10).await, ["", "00000", "00001", ""]);
    assert_eq!(read(0, 250).await.iter().map(String::len).sum::<usize>(), 250);
}

pub async fn a_page_behind_the_end_is_empty(engine: Engine) {
    engine.log.append(batch("a", &["1"])).await.unwrap();
    for after in [1, 2, u64::MAX] {
        let page = engine.log.read(&run("a"), Offset::new(after), ALL).await.unwrap();
        assert!(page.records.is_empty());
        assert_eq!(page.stat.last, Offset::new(1));
    }
}

pub async fn a_stream_that_never_was_is_told_from_a_deleted_one(engine: Engine) {
    let log = engine.log;
    assert_eq!(log.stat(&run("a")).await, Ok(None));
    assert_eq!(events(&*log, "a").await, Err(ReadError::NotFound));
    assert_eq!(log.delete(&run("a")).await, Ok(false));
    log.append(batch("a", &["1"])).await.unwrap();
    assert_eq!(log.delete(&run("a")).await, Ok(true));
    assert_eq!(log.delete(&run("a")).await, Ok(false));
    assert_eq!(log.stat(&run("a")).await, Err(ReadError::Deleted));
    assert_eq!(events(&*log, "a").await, Err(ReadError::Deleted));
    assert_eq!(log.list(None, 10).await.unwrap(), []);
}

pub async fn a_stream_made_again_has_another_epoch(engine: Engine) {
    let log = engine.log;
    for epoch in 1..4 {
        let last = Append { close: true, ..stamped("a", &["1", "2"], "p", 0, 0) };
        assert_eq!(log.append(last).await, Ok(appended(epoch, 2, 2, 0)));
        assert_eq!(events(&*log, "a").await.unwrap(), ["1", "2"]);
        let stat = log.stat(&run("a")).await.unwrap().unwrap();
        let shares_nothing = [(Epoch::new(epoch).unwrap(), Offset::START)];
        assert_eq!(&*stat.epoch_bases, if epoch == 1 { &[][..] } else { &shares_nothing });
        assert!(log.delete(&run("a")).await.unwrap());
    }
    let late = Append { create: false, ..batch("a", &["3"]) };
    assert_eq!(log.append(late).await, Err(AppendError::NotFound));
}

pub async fn a_closed_stream_takes_nothing_more(engine: Engine) {
    let log = engine.log;
    log.append(Append { close: true, ..batch("a", &["1", "end"]) }).await.unwrap();
    assert!(log.stat(&run("a")).await.unwrap().unwrap().closed);
    let closed = Err(AppendError::Closed { last: Offset::new(2) });
    assert_eq!(log.append(batch("a", &["late"])).await, closed);
    assert_eq!(events(&*log, "a").await.unwrap(), ["1", "end"]);
}

pub async fn a_retry_is_acknowledged_and_stored_once(engine: Engine) {
    let log = engine.log;
    let first = stamped("a", &["0", "1", "2"], "p", 0, 0);
    log.append(first.clone()).await.unwrap();
    assert_eq!(log.append(first).await, Ok(appended(1, 3, 0, 3)));
    let overlapping = Append { close: true, ..stamped("a", &["2", "3"], "p", 0, 2) };
    assert_eq!(log.append(overlapping.clone()).await, Ok(appended(1, 4, 1, 1)));
    assert_eq!(log.append(overlapping).await, Ok(appended(1, 4, 0, 2)));
    assert_eq!(events(&*log, "a").await.unwrap(), ["0", "1", "2", "3"]);
    let changes = engine.recorder.take();
    assert_eq!(changes.len(), 2, "what is stored already is not committed again");
}

pub async fn a_retry_of_what_waits_in_the_same_group_is_stored_once(engine: Engine) {
    let log = engine.log;
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let log = Arc::clone(&log);
            tokio::spawn(async move { log.append(stamped("a", &["0", "1"], "p", 0, 0)).await })
        })
        .collect();
    let mut stored = 0;
    for task in tasks {
        stored += task.await.unwrap().unwrap().stored;
    }
    assert_eq!(stored, 2);
    assert_eq!(events(&*log, "a").await.unwrap(), ["0", "1"]);
}

pub async fn an_expected_offset_is_kept_to(engine: Engine) {
    let log = engine.log;
    let expecting = |last, text| {
        let expected_last = Some(Offset::new(last));
        Append { expected_last, ..batch("a", &[text]) }
    };
    log.append(expecting(0, "1")).await.unwrap();
    let mismatch = AppendError::OffsetMismatch { expected: Offset::START, actual: Offset::new(1) };
    assert_eq!(log.append(expecting(0, "x")).await, Err(mismatch));
    log.append(expecting(1, "2")).await.unwrap();
    assert_eq!(events(&*log, "a").await.unwrap(), ["1", "2"]);
}

pub async fn a_stream_is_made_only_if_asked_for(engine: Engine) {
    let log = engine.log;
    let append = Append { create: false, ..batch("a", &["1"]) };
    assert_eq!(log.append(append.clone()).await, Err(AppendError::NotFound));
    assert_eq!(log.stat(&run("a")).await, Ok(None));
    log.append(batch("a", &["0"])).await.unwrap();
    log.append(append).await.unwrap();
    assert!(engine.recorder.take().len() == 2);
}

pub async fn streams_are_listed_in_order(engine: Engine) {
    let log = engine.log;
    for name in ["d", "a", "c", "b", "e"] {
        log.append(batch(name, &["1"])).await.unwrap();
    }
    log.delete(&run("c")).await.unwrap();
    log.delete(&run("d")).await.unwrap();
    log.append(batch("d", &["1"])).await.unwrap();
    let names = async |after: Option<&str>, limit| {
        let after = after.map(run);
        let listed = log.list(after.as_ref(), limit).await.unwrap();
        listed.iter().map(|(run, _)| run.to_string()).collect::<String>()
    };
    assert_eq!(names(None, 10).await, "abde");
    assert_eq!(names(None, 2).await, "ab");
    assert_eq!(names(Some("b"), 2).await, "de");
    assert_eq!(names(Some("c"), 1).await, "d");
    assert_eq!(names(Some("e"), 2).await, "");
}

pub async fn the_observer_hears_of_every_commit_in_order(engine: Engine) {
    let log = engine.log;
    log.append(batch("a", &["1", "2"])).await.unwrap();
    log.append(batch("b", &["1"])).await.unwrap();
    log.append(Append { close: true, ..batch("a", &["3"]) }).await.unwrap();
    log.delete(&run("b")).await.unwrap();
    let told = engine.recorder.take().into_iter().map(|change| match change {
        Committed::Appended { run, records, stat } => {
            let offsets: Vec<_> = records.iter().map(|record| record.offset.get()).collect();
            format!("{run}{offsets:?} {}{}", stat.last, if stat.closed { "." } else { "" })
        }
        Committed::Deleted { run } => format!("-{run}"),
        Committed::Changed { run } => format!("{run}?"),
        Committed::Lost { run } => format!("{run}!"),
    });
    assert_eq!(told.collect::<Vec<_>>(), ["a[1, 2] 2", "b[1] 1", "a[3] 3.", "-b"]);
}

pub async fn what_is_acknowledged_is_seen_by_a_reader_at_once(engine: Engine) {
    for at in 1..=100 {
        engine.log.append(batch("a", &["x"])).await.unwrap();
        assert_eq!(events(&*engine.log, "a").await.unwrap().len(), at);
    }
}

pub async fn batches_of_many_tasks_are_stored_whole_and_in_one_order(engine: Engine) {
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let log = Arc::clone(&engine.log);
            tokio::spawn(async move {
                for at in 0..20 {
                    let name = format!("s{}", at % 3);
                    let event = format!("{task}-{at}");
                    let id = format!("p{task}");
                    let sequence = at / 3 * 2;
                    let batch = stamped(&name, &[&event, &event], &id, 0, sequence);
                    log.append(batch).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let changes = engine.recorder.take();
    let mut total = 0;
    for name in ["s0", "s1", "s2"] {
        let read = events(&*engine.log, name).await.unwrap();
        assert!(read.chunks(2).all(|pair| pair[0] == pair[1]), "batches are whole");
        let told = changes.iter().flat_map(|change| match change {
            Committed::Appended { run, records, .. } if run.as_str() == name => records.as_slice(),
            _ => &[],
        });
        assert!(told.map(|record| record.payload.to_vec()).eq(read.iter().map(|t| t.as_bytes())));
        for task in 0..16 {
            let prefix = format!("{task}-");
            let own = read.iter().filter_map(|text| text.strip_prefix(&prefix));
            assert!(own.map(|at| at.parse::<u32>().unwrap()).is_sorted(), "a task's own order");
        }
        total += read.len();
    }
    assert_eq!(total, 16 * 20 * 2);
}

pub async fn large_events_are_given_back_as_they_were(engine: Engine) {
    let log = engine.log;
    let mut all = Vec::new();
    for at in 0..6_usize {
        let sizes = [at * 20_000, 1, 50_000 * (at % 2), 90_000, 0];
        let texts = sizes.map(|size| char::from(b'a' + at as u8).to_string().repeat(size));
        let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
        log.append(stamped("a", &refs, "p", 0, all.len() as u64)).await.unwrap();
        all.extend(texts);
    }
    assert_eq!(events(&*log, "a").await.unwrap(), all);
    let mut read = Vec::new();
    while read.len() < all.len() {
        let limit = ReadLimit { events_max: 4, bytes_max: 100_000 };
        let page = log.read(&run("a"), Offset::new(read.len() as u64), limit).await.unwrap();
        assert!(!page.records.is_empty());
        read.extend(texts(&page).into_iter().map(|(_, text)| text));
    }
    assert_eq!(read, all);
}

pub async fn a_log_that_is_shut_down_takes_nothing_more(engine: Engine) {
    let log = engine.log;
    log.append(batch("a", &["1"])).await.unwrap();
    assert_eq!(log.health(), LogHealth::Healthy);
    log.shut_down().await;
    log.shut_down().await;
    let refused = log.append(batch("a", &["2"])).await;
    assert!(matches!(refused, Err(AppendError::Unavailable { .. })), "{refused:?}");
    assert!(matches!(log.delete(&run("a")).await, Err(DeleteError::Unavailable { .. })));
    assert!(matches!(log.health(), LogHealth::Failed { .. }));
    assert_eq!(Arc::strong_count(&engine.recorder), 1, "the observer is let go of");
}

pub async fn the_feed_has_one_entry_for_every_new_event_that_it_tells_of(engine: Engine) {
    let log = engine.log;
    assert_eq!(feed(&*log).await, [""; 0]);
    log.append(stamped("life", &["life 1", "2", "life 3"], "p", 0, 0)).await.unwrap();
    log.append(batch("other", &["1", "life 2"])).await.unwrap();
    // All of it was stored before, then a part of it.
    log.append(stamped("life", &["2", "life 3"], "p", 0, 1)).await.unwrap();
    log.append(stamped("life", &["life 3", "life 4"], "p", 0, 2)).await.unwrap();
    // What is refused is not in it.
    log.append(stamped("life", &["life 9"], "p", 0, 9)).await.unwrap_err();
    assert!(log.delete(&run("life")).await.unwrap());
    assert!(!log.delete(&run("life")).await.unwrap());
    assert!(log.delete(&run("other")).await.unwrap());
    log.append(Append { close: true, ..batch("life", &["life 1"]) }).await.unwrap();
    let entries = [
        "life begins 1.1",
        "life begins 1.3",
        "other begins 1.2",
        "life 1.4",
        "life deleted",
        "life begins 2.1",
    ];
    assert_eq!(feed(&*log).await, entries);
    let feed_changes = engine.recorder.take().into_iter().filter_map(|change| match change {
        Committed::Appended { run, records, stat } if run.is_feed() => Some((records, stat)),
        _ => None,
    });
    let (told, stats): (Vec<_>, Vec<_>) = feed_changes.unzip();
    let told: Vec<_> = told.into_iter().flatten().map(|record| record.payload).collect();
    assert_eq!(told, entries, "the observer hears of the feed as of any stream");
    assert!(stats.iter().all(|stat| !stat.closed));
}

pub async fn what_the_observer_does_not_admit_is_not_stored(engine: Engine) {
    let log = engine.log;
    log.append(stamped("a", &["1", "life 2"], "p", 0, 0)).await.unwrap();
    // The first was stored before; the last stands at 2 of the batch.
    let refused = log.append(stamped("a", &["life 2", "life 3", "no"], "p", 0, 1)).await;
    let Err(AppendError::Refused(refusal)) = refused else { panic!("{refused:?}") };
    assert_eq!((refusal.event, refusal.code), (2, "no"));
    log.append(batch("made", &["no"])).await.unwrap_err();
    assert_eq!(log.stat(&run("made")).await, Ok(None));
    // Nothing is lost and nothing else is disturbed: the producer goes on where it was.
    assert_eq!(log.append(stamped("a", &["3"], "p", 0, 2)).await, Ok(appended(1, 3, 1, 0)));
    assert_eq!(feed(&*log).await, ["a begins 1.2"]);
}

pub async fn the_feed_is_no_run(engine: Engine) {
    let log = engine.log;
    log.append(batch("life", &["life 1"])).await.unwrap();
    let listed = log.list(None, 10).await.unwrap();
    assert_eq!(listed.into_iter().map(|(run, _)| run).collect::<Vec<_>>(), [run("life")]);
    let forged = Append { run: RunId::feed(), ..batch("life", &["forged"]) };
    assert_eq!(log.append(forged).await, Err(AppendError::NotFound));
    assert_eq!(log.delete(&RunId::feed()).await, Ok(false));
    assert_eq!(feed(&*log).await, ["life begins 1.1"]);
}

pub async fn what_is_trimmed_is_gone_and_offsets_stay(engine: Engine) {
    let log = engine.log;
    for at in 1..=10 {
        log.append(batch("a", &[&at.to_string()])).await.unwrap();
    }
    let a = run("a");
    assert_eq!(log.trim(&run("none"), Trim::before(Offset::new(3))).await, Ok(false));
    assert_eq!(
        log.trim(&a, Trim::before(Offset::new(1))).await,
        Ok(false),
        "there is nothing before the first"
    );
    assert_eq!(log.trim(&a, Trim::before(Offset::new(4))).await, Ok(true));
    assert_eq!(log.trim(&a, Trim::before(Offset::new(4))).await, Ok(false));
    assert_eq!(
        log.trim(&a, Trim::before(Offset::new(2))).await,
        Ok(false),
        "what is gone does not come back"
    );
    let stat = log.stat(&a).await.unwrap().unwrap();
    assert_eq!((stat.first.get(), stat.last.get()), (4, 10));
    for after in 0..3 {
        let gone = log.read(&a, Offset::new(after), ALL).await.map(|page| texts(&page));
        assert_eq!(gone, Err(ReadError::Trimmed { first: Offset::new(4) }));
    }
    for after in 3..=11 {
        let page = log.read(&a, Offset::new(after), ALL).await.unwrap();
        let expected = (after + 1..=10).map(|at| (at, at.to_string()));
        assert_eq!(texts(&page), expected.collect::<Vec<_>>());
    }
    if engine.counts_events {
        assert_eq!(log.measure().events, 7);
    }
    // All of it, and more than there is.
    assert_eq!(log.trim(&a, Trim::before(Offset::new(99))).await, Ok(true));
    let stat = log.stat(&a).await.unwrap().unwrap();
    assert_eq!((stat.first.get(), stat.last.get()), (11, 10));
    let page = log.read(&a, Offset::new(10), ALL).await.unwrap();
    assert!(page.records.is_empty());
    log.append(batch("a", &["11"])).await.unwrap();
    let page = log.read(&a, Offset::new(10), ALL).await.unwrap();
    assert_eq!(texts(&page), [(11, "11".to_owned())]);
}

pub async fn a_trimmed_stream_goes_on_as_any_other(engine: Engine) {
    let log = engine.log;
    log.append(stamped("a", &["life 1", "2", "3"], "p", 0, 0)).await.unwrap();
    engine.recorder.take();
    assert_eq!(log.trim(&run("a"), Trim::before(Offset::new(3))).await, Ok(true));
    assert_eq!(engine.recorder.take().len(), 0, "nobody hears of it");
    assert_eq!(log.append(stamped("a", &["2", "3"], "p", 0, 1)).await, Ok(appended(1, 3, 0, 2)));
    let end = Append { close: true, ..stamped("a", &["3", "4"], "p", 0, 2) };
    assert_eq!(log.append(end).await, Ok(appended(1, 4, 1, 1)));
    assert_eq!(
        log.trim(&run("a"), Trim::before(Offset::new(4))).await,
        Ok(true),
        "what has ended, too"
    );
    let stat = log.stat(&run("a")).await.unwrap().unwrap();
    assert_eq!((stat.first.get(), stat.last.get(), stat.closed), (4, 4, true));
    assert_eq!(log.list(None, 10).await.unwrap(), [(run("a"), stat)]);
    assert_eq!(
        log.trim(&RunId::feed(), Trim::before(Offset::new(2))).await,
        Ok(true),
        "the feed, too"
    );
    assert_eq!(log.delete(&run("a")).await, Ok(true));
    assert_eq!(log.trim(&run("a"), Trim::before(Offset::new(5))).await, Ok(false));
    log.append(batch("a", &["1"])).await.unwrap();
    assert_eq!(events(&*log, "a").await.unwrap(), ["1"]);
}

fn with_base(before: u64, base: &'static str) -> Trim {
    Trim { base: base.into(), ..Trim::before(Offset::new(before)) }
}

pub async fn what_stands_for_trimmed_events_is_kept_until_the_next_trim(engine: Engine) {
    let log = engine.log;
    let a = run("a");
    let base = async || log.base(&a).await.map(|base| base.map(|base| base.to_vec()));
    assert_eq!(base().await, Err(ReadError::NotFound));
    log.append(batch("a", &["1", "2", "3", "4", "5"])).await.unwrap();
    assert_eq!(base().await, Ok(None));
    assert_eq!(log.trim(&a, with_base(3, "two")).await, Ok(true));
    assert_eq!(base().await, Ok(Some(b"two".to_vec())));
    assert_eq!(log.trim(&a, with_base(2, "one")).await, Ok(false));
    log.append(batch("a", &["6"])).await.unwrap();
    assert_eq!(base().await, Ok(Some(b"two".to_vec())), "what was not done changes nothing");
    assert_eq!(log.trim(&a, with_base(5, "four")).await, Ok(true));
    assert_eq!(base().await, Ok(Some(b"four".to_vec())));
    assert_eq!(log.trim(&a, with_base(6, "")).await, Ok(true));
    assert_eq!(base().await, Ok(None));
    assert_eq!(log.trim(&a, with_base(7, "all")).await, Ok(true));
    let large = Trim { base: vec![b'x'; BASE_BYTES_MAX + 1].into(), ..with_base(9, "") };
    let refused = DeleteError::BaseTooLarge { bytes: BASE_BYTES_MAX + 1 };
    assert_eq!(log.trim(&a, large).await, Err(refused));
    assert_eq!(base().await, Ok(Some(b"all".to_vec())));
    log.delete(&a).await.unwrap();
    assert_eq!(base().await, Err(ReadError::Deleted));
    log.append(batch("a", &["1", "2"])).await.unwrap();
    assert_eq!(base().await, Ok(None));
}

pub async fn what_was_decided_of_another_stream_of_the_name_is_not_done(engine: Engine) {
    let log = engine.log;
    let a = run("a");
    log.append(batch("a", &["1", "2"])).await.unwrap();
    log.delete(&a).await.unwrap();
    log.append(batch("a", &["new 1", "new 2"])).await.unwrap();
    let stat = log.stat(&a).await.unwrap().unwrap();
    for (epoch, is_done) in [(Epoch::FIRST, false), (stat.epoch, true)] {
        let trim = Trim { epoch: Some(epoch), ..with_base(2, "one") };
        assert_eq!(log.trim(&a, trim).await, Ok(is_done));
    }
    assert_eq!(log.delete_in(&a, Some(Epoch::FIRST)).await, Ok(false));
    assert_eq!(log.stat(&a).await.unwrap().unwrap().first, Offset::new(2));
    assert_eq!(log.delete_in(&a, Some(stat.epoch)).await, Ok(true));
    assert_eq!(log.stat(&a).await, Err(ReadError::Deleted));
}

pub async fn the_newest_events_that_take_so_many_bytes_are_found(engine: Engine) {
    let log = engine.log;
    let a = run("a");
    assert_eq!(log.first_within(&a, 1).await, Err(ReadError::NotFound));
    let event = "x".repeat(30_000);
    for _ in 0..20 {
        log.append(batch("a", &[&event])).await.unwrap();
    }
    let within = async |bytes| log.first_within(&a, bytes).await.unwrap().get();
    assert_eq!((within(u64::MAX).await, within(0).await), (1, 21));
    for events in [5, 10, 15] {
        let first = within(events * 30_000).await;
        assert!((21 - events..=21 - events + 3).contains(&first), "{events}: {first}");
    }
    log.trim(&a, Trim::before(Offset::new(8))).await.unwrap();
    assert_eq!(within(u64::MAX).await, 8);
}
