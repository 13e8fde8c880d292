use proptest::prelude::*;
use runcast_event::Epoch;

use super::*;
use crate::embedded::wal::record::{self, NewBlock, Record};

/// Joins events that begin with the same letter; the part is what is behind it and before the `.`
struct ByLetter;

impl Join for ByLetter {
    fn join(&mut self, earlier: &Bytes, later: &Bytes) -> Option<(Range<usize>, Range<usize>)> {
        let part = |event: &Bytes| 1..event.len() - 1;
        (earlier[0] == later[0]).then(|| (part(earlier), part(later)))
    }
}

fn events() -> impl Strategy<Value = Vec<Bytes>> {
    let event = (prop::sample::select(vec!["a", "b"]), "[0-9]{0,300}");
    let event = event.prop_map(|(letter, part)| Bytes::from(format!("{letter}{part}.")));
    prop::collection::vec(event, 1..40)
}

fn singles(events: &[Bytes]) -> Vec<StoredEvent> {
    let numbered = (7..).map(Offset::new).zip(events);
    numbered.map(|(at, event)| StoredEvent::single(at, event.clone())).collect()
}

fn joined(events: Vec<StoredEvent>) -> Vec<StoredEvent> {
    let mut joining = Joining::new(Box::new(ByLetter));
    let mut joined: Vec<_> = events.into_iter().filter_map(|event| joining.add(event)).collect();
    joined.extend(joining.end());
    joined
}

/// The block as it reads back.
fn stored(events: &[StoredEvent]) -> Vec<StoredEvent> {
    let mut bytes = Vec::new();
    NewBlock { run: "r", born: Epoch::FIRST, events }.encode(&mut bytes);
    let bytes = Bytes::from(bytes);
    let (Record::Append(append), length) = record::decode(&bytes).unwrap() else { panic!() };
    assert_eq!((append.run, append.first, length), ("r", events[0].first(), bytes.len()));
    assert_eq!(append.count, events.iter().map(StoredEvent::count).sum::<u64>());
    append.events().map(|event| event.read(&bytes)).collect()
}

/// The events from an offset on and up to another, each letter's parts one behind the other.
fn text(events: &[StoredEvent]) -> Vec<(u8, String)> {
    let mut text: Vec<(u8, String)> = Vec::new();
    for event in events {
        let part = std::str::from_utf8(&event.bytes[1..event.bytes.len() - 1]).unwrap();
        match text.last_mut() {
            Some((letter, text)) if *letter == event.bytes[0] => text.push_str(part),
            _ => text.push((event.bytes[0], part.to_owned())),
        }
    }
    text
}

#[test]
fn an_event_that_is_joined_is_the_newest_with_the_parts_of_all() {
    let events = ["a1.", "a2.", "a.", "b3.", "a4."].map(|event| Bytes::from(event.to_owned()));
    let joined = joined(singles(&events));
    let told: Vec<_> =
        joined.iter().map(|event| (event.last.get(), event.count(), &event.bytes[..])).collect();
    assert_eq!(told, [(9, 3, &b"a12."[..]), (10, 1, b"b3."), (11, 1, b"a4.")]);
    assert_eq!(joined[0].lengths, [1, 1, 0]);
}

#[test]
fn a_part_at_another_place_than_before_is_not_joined() {
    struct Shifted;
    impl Join for Shifted {
        fn join(
            &mut self,
            earlier: &Bytes,
            _later: &Bytes,
        ) -> Option<(Range<usize>, Range<usize>)> {
            Some((2..earlier.len(), 1..2))
        }
    }
    let mut joining = Joining::new(Box::new(Shifted));
    let events = singles(&vec![Bytes::from_static(b"a12."); 3]);
    let given = events.into_iter().filter_map(|event| joining.add(event)).collect::<Vec<_>>();
    assert_eq!(given.iter().map(StoredEvent::count).collect::<Vec<_>>(), [2]);
}

#[test]
fn what_is_joined_fits_into_a_block() {
    let part = "x".repeat(BLOCK_BYTES_MAX / 5);
    let events = vec![Bytes::from(format!("a{part}.")); 20];
    let joined = joined(singles(&events));
    assert!(joined.iter().all(|event| event.bytes.len() <= BLOCK_BYTES_MAX));
    assert_eq!(joined.iter().map(|event| event.count()).sum::<u64>(), 20);
    assert!(joined[0].count() > 1);
}

proptest! {
    #[test]
    fn joined_events_are_stored_with_the_text_of_all(events in events(), cut in 0..40_usize) {
        let singles = singles(&events);
        prop_assert_eq!(stored(&singles), singles.clone());
        let once = joined(singles.clone());
        prop_assert_eq!(stored(&once), once.clone());
        prop_assert_eq!(text(&once), text(&singles));
        // In two parts first, and then together.
        let (front, back) = singles.split_at(cut.min(singles.len()));
        let mut parts = joined(front.to_vec());
        parts.extend(joined(back.to_vec()));
        let again = joined(parts);
        prop_assert_eq!(again, once);
    }

    #[test]
    fn any_part_of_them_is_the_text_of_the_events_in_it(
        events in events(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(),
    ) {
        let singles = singles(&events);
        let (from, to) = (from.index(singles.len()), to.index(singles.len()));
        let wanted = &singles[from.min(to)..=from.max(to)];
        let (first, last) = (wanted[0].last, wanted[wanted.len() - 1].last);
        let mut bytes = Vec::new();
        let joined = joined(singles.clone());
        NewBlock { run: "r", born: Epoch::FIRST, events: &joined }.encode(&mut bytes);
        let bytes = Bytes::from(bytes);
        let Ok((Record::Append(append), _)) = record::decode(&bytes) else { panic!() };
        let mut read = Vec::new();
        for event in append.events() {
            let whole = event.read(&bytes);
            if whole.last < first || whole.first() > last {
                continue;
            }
            let skipped = first.get().saturating_sub(whole.first().get());
            let taken = last.min(whole.last).get() + 1 - first.max(whole.first()).get();
            if let Some(parts) = event.parts {
                let cut = parts.cut(&whole.bytes, skipped, taken);
                read.push(StoredEvent::single(last.min(whole.last), cut));
            } else {
                read.push(whole.clone());
            }
            let rest = whole.clone().from(first);
            prop_assert_eq!((rest.first(), rest.last), (first.max(whole.first()), whole.last));
            prop_assert_eq!(rest.lengths.len() == 1, false);
        }
        prop_assert_eq!(text(&read), text(wanted));
    }
}
