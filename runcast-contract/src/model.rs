//! Random work, and how two engines are compared that have done it.

use proptest::prelude::*;
use runcast_event::{Offset, RunId};
use runcast_log::{Append, Log, ReadLimit, Record};

use crate::{ALL, batch, run, stamped};

/// Appends of all kinds to a few runs.
pub fn append() -> impl Strategy<Value = Append> {
    let stamp = (0..2_u8, 0..3_u64, 0..8_u64);
    let expected = prop::option::weighted(0.2, 0..6_u64);
    (
        "[a-d]|[a-d]{2}",
        prop::collection::vec("(life)?[a-z]{0,40}", 0..5),
        prop::option::weighted(0.7, stamp),
        prop::bool::weighted(0.1),
        expected,
        prop::bool::weighted(0.9),
    )
        .prop_map(|(run, events, stamp, close, expected, create)| {
            let events: Vec<&str> = events.iter().map(String::as_str).collect();
            let base = match stamp {
                Some((id, epoch, at)) => stamped(&run, &events, &format!("p{id}"), epoch / 2, at),
                None => batch(&run, &events),
            };
            Append { close, create, expected_last: expected.map(Offset::new), ..base }
        })
}

/// Both have the same streams, and give the same of them however they are read.
pub async fn assert_same(model: &dyn Log, log: &dyn Log) {
    assert_eq!(model.list(None, 100).await, log.list(None, 100).await);
    assert_eq!(model.list(Some(&run("b")), 1).await, log.list(Some(&run("b")), 1).await);
    let listed = model.list(None, 100).await.unwrap().into_iter().map(|(run, _)| run);
    let all = ["a", "b", "c", "d"].map(run).into_iter().chain([RunId::feed()]);
    for run in all.chain(listed.filter(|run| run.as_str().len() > 1)) {
        assert_eq!(model.stat(&run).await, log.stat(&run).await);
        assert_eq!(model.base(&run).await, log.base(&run).await);
        for (after, events_max) in [(0, usize::MAX), (0, 1), (2, 3), (5, 2), (9, usize::MAX)] {
            let limit = ReadLimit { events_max, ..ALL };
            let expected = model.read(&run, Offset::new(after), limit).await;
            let read = log.read(&run, Offset::new(after), limit).await;
            let expected = expected.map(|page| page.records);
            let events = expected.as_deref().unwrap_or_default();
            let read = read.map(|page| apart(&page.records, after, events));
            assert_eq!(expected, read);
        }
    }
}

/// What is read as the events that it stands for, which begin behind an offset and are these in all.
pub fn apart(records: &[Record], after: u64, events: &[Record]) -> Vec<Record> {
    let mut apart = Vec::new();
    let mut next = after + 1;
    for record in records {
        assert_eq!(record.first().get(), next, "no hole");
        next = record.offset.get() + 1;
        let mut rest = record.payload.clone();
        let of = |event: &&Record| (record.first()..=record.offset).contains(&event.offset);
        for event in events.iter().filter(of) {
            let payload = rest.split_to(event.payload.len().min(rest.len()));
            apart.push(Record::single(event.offset, payload));
        }
        assert!(rest.is_empty(), "there is more than the events");
    }
    apart
}
