use bytes::Bytes;
use runcast_event::RunId;

use super::*;
use crate::contract::ProducerStamp;

const RULES: Rules = Rules { producers_max: 2, first_epoch: Epoch::FIRST };

fn batch(count: usize) -> Append {
    Append {
        run: RunId::new("r").unwrap(),
        events: vec![Bytes::from_static(b"x"); count],
        close: false,
        expected_last: None,
        producer: None,
        create: true,
    }
}

fn stamped(count: usize, id: &str, epoch: u64, sequence: u64) -> Append {
    let id = ProducerId::new(id).unwrap();
    Append { producer: Some(ProducerStamp { id, epoch, sequence }), ..batch(count) }
}

/// Decides and carries out, as an engine does.
fn step(stream: &mut Option<Stream>, append: &Append) -> Result<(u64, u64), AppendError> {
    let placement = match decide(stream.as_ref(), append, RULES)? {
        Plan::Acknowledge(appended) => return Ok((appended.stored, appended.duplicates)),
        Plan::Store(placement) => placement,
    };
    let stored = (append.events.len() - placement.duplicates) as u64;
    let target = stream.get_or_insert_with(|| Stream::new(placement.epoch));
    target.advance(&placement.advance(append));
    Ok((stored, placement.duplicates as u64))
}

#[test]
fn a_retry_that_is_cut_differently_stores_only_the_new_suffix() {
    let mut stream = None;
    assert_eq!(step(&mut stream, &stamped(3, "p", 0, 0)), Ok((3, 0)));
    assert_eq!(step(&mut stream, &stamped(4, "p", 0, 1)), Ok((2, 2)));
    assert_eq!(step(&mut stream, &stamped(2, "p", 0, 0)), Ok((0, 2)));
    assert_eq!(stream.unwrap().last, Offset::new(5));
}

#[test]
fn a_hole_in_the_sequence_is_refused_and_named() {
    let mut stream = None;
    let gap = |sequence, expected| Err(AppendError::SequenceGap { sequence, expected });
    assert_eq!(step(&mut stream, &stamped(1, "p", 0, 1)), gap(1, 0));
    step(&mut stream, &stamped(3, "p", 0, 0)).unwrap();
    assert_eq!(step(&mut stream, &stamped(1, "p", 0, 4)), gap(4, 3));
    assert_eq!(step(&mut stream, &stamped(1, "p", 1, 3)), gap(3, 0));
    assert_eq!(step(&mut stream, &stamped(1, "q", 0, 2)), gap(2, 0));
}

#[test]
fn a_higher_producer_epoch_fences_the_lower_one_off() {
    let mut stream = None;
    step(&mut stream, &stamped(3, "p", 4, 0)).unwrap();
    step(&mut stream, &stamped(1, "p", 5, 0)).unwrap();
    let fenced = Err(AppendError::Fenced { epoch: 4, current: 5 });
    assert_eq!(step(&mut stream, &stamped(1, "p", 4, 3)), fenced);
    assert_eq!(step(&mut stream, &stamped(1, "p", 4, 0)), fenced);
}

#[test]
fn duplicates_are_acknowledged_behind_the_end_and_new_events_are_not() {
    let mut stream = None;
    step(&mut stream, &Append { close: true, ..stamped(3, "p", 0, 0) }).unwrap();
    assert_eq!(step(&mut stream, &Append { close: true, ..stamped(3, "p", 0, 0) }), Ok((0, 3)));
    let closed = Err(AppendError::Closed { last: Offset::new(3) });
    assert_eq!(step(&mut stream, &stamped(4, "p", 0, 0)), closed);
    assert_eq!(step(&mut stream, &stamped(1, "p", 0, 9)), closed);
    assert_eq!(step(&mut stream, &batch(1)), closed);
}

#[test]
fn an_expected_offset_counts_the_duplicates_of_a_retry() {
    let mut stream = None;
    let expecting = |last, append| Append { expected_last: Some(Offset::new(last)), ..append };
    step(&mut stream, &expecting(0, stamped(2, "p", 0, 0))).unwrap();
    assert_eq!(step(&mut stream, &expecting(0, stamped(3, "p", 0, 0))), Ok((1, 2)));
    let mismatch = |expected, actual| {
        let (expected, actual) = (Offset::new(expected), Offset::new(actual));
        Err(AppendError::OffsetMismatch { expected, actual })
    };
    assert_eq!(step(&mut stream, &expecting(2, batch(1))), mismatch(2, 3));
    assert_eq!(step(&mut stream, &expecting(u64::MAX, batch(1))), mismatch(u64::MAX, 3));
    assert_eq!(step(&mut None, &expecting(1, batch(1))), mismatch(1, 0));
}

#[test]
fn a_stream_is_made_only_when_that_was_asked_for() {
    let missing = Append { create: false, ..batch(1) };
    assert_eq!(step(&mut None, &missing), Err(AppendError::NotFound));
    assert_eq!(step(&mut None, &batch(0)), Err(AppendError::NotFound));
}

#[test]
fn producers_are_bounded_and_known_ones_go_on() {
    let mut stream = None;
    step(&mut stream, &stamped(1, "p", 0, 0)).unwrap();
    step(&mut stream, &stamped(1, "q", 0, 0)).unwrap();
    let refused = Err(AppendError::TooManyProducers { max: 2 });
    assert_eq!(step(&mut stream, &stamped(1, "r", 0, 0)), refused);
    assert_eq!(step(&mut stream, &stamped(1, "p", 0, 1)), Ok((1, 0)));
    assert_eq!(step(&mut stream, &stamped(1, "q", 1, 0)), Ok((1, 0)));
}

#[test]
fn a_stream_made_again_has_a_higher_epoch_that_shares_nothing() {
    let mut stream = None;
    step(&mut stream, &stamped(2, "p", 0, 0)).unwrap();
    stream.as_mut().unwrap().delete();
    step(&mut stream, &stamped(1, "p", 0, 0)).unwrap();
    let stat = stream.unwrap().stat();
    let epoch = Epoch::FIRST.next();
    assert_eq!((stat.first.get(), stat.last.get(), stat.epoch), (1, 1, epoch));
    assert_eq!(&*stat.epoch_bases, &[(epoch, Offset::START)]);
}

#[test]
fn remembered_epochs_are_bounded_and_never_hide_a_loss() {
    let mut stream = None;
    for _ in 0..EPOCH_BASES_MAX + 5 {
        step(&mut stream, &batch(1)).unwrap();
        stream.as_mut().unwrap().begin_epoch(1);
    }
    let stat = stream.unwrap().stat();
    assert_eq!(stat.epoch_bases.len(), EPOCH_BASES_MAX);
    assert_eq!(stat.epoch_bases[0].1, Offset::new(1));
    assert_eq!(stat.epoch_bases[EPOCH_BASES_MAX - 1], (stat.epoch, stat.last));
}
