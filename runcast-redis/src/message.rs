//! What nodes tell each other by Pub/Sub: a line about the change, then the events.

use std::fmt::Write as _;

use bytes::{Buf as _, Bytes};
use runcast_event::{Epoch, Offset, RunId};
use runcast_log::engine::Phase;
use runcast_log::{Record, StreamStat};

use crate::pack::Pack;
use crate::replica::{bases, phase_letter, shown_bases};

/// The most bytes of events that go with a message. Who wants more reads the stream.
pub(crate) const EVENTS_BYTES_MAX: usize = 256 * 1024;

/// What has become of a run's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// The node that did it.
    pub(crate) node: String,
    pub(crate) is_deletion: bool,
    /// The stream behind it.
    pub(crate) stat: StreamStat,
    /// The new events. None if they did not come with the message.
    pub(crate) records: Vec<Record>,
}

/// The line about a batch, or about a deletion: the entries of the batch follow it.
pub(crate) fn head(
    node: &str,
    kind: char,
    (stat, phase): (&StreamStat, Phase),
    packs: &[Pack],
) -> String {
    let StreamStat { first: kept, last, epoch, epoch_bases, .. } = stat;
    let (phase, bases) = (phase_letter(phase), shown_bases(epoch_bases));
    let mut head = format!("{node} {kind} {kept} {last} {phase} {epoch} {bases} ");
    for Pack { count, value, .. } in packs {
        // A string takes everything.
        let _written = write!(head, "{count}:{},", value.len());
    }
    head.push('\n');
    head
}

/// Reads a message. None if it is not one.
pub(crate) fn read(message: Vec<u8>) -> Option<Change> {
    let end = message.iter().position(|byte| *byte == b'\n')?;
    let mut rest = Bytes::from(message);
    let line = rest.split_to(end);
    rest.advance(1);
    let mut words = std::str::from_utf8(&line).ok()?.split(' ');
    let node = words.next()?.to_owned();
    let is_deletion = words.next()? == "d";
    let (kept, last) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let closed = words.next()? == "c";
    let epoch = Epoch::new(words.next()?.parse().ok()?)?;
    let epoch_bases = bases(words.next()?).ok()?;
    let (kept, last) = (Offset::new(kept), Offset::new(last));
    let stat = StreamStat { first: kept, last, closed, epoch, epoch_bases };
    let sizes = words.next()?.split_terminator(',').map(|size| {
        let (count, bytes) = size.split_once(':')?;
        Some((count.parse().ok()?, bytes.parse().ok()?))
    });
    let sizes: Vec<(usize, usize)> = sizes.collect::<Option<_>>()?;
    if rest.is_empty() {
        // The events did not come with it.
        return Some(Change { node, is_deletion, stat, records: Vec::new() });
    }
    let count: usize = sizes.iter().map(|(count, _)| count).sum();
    let mut records = Vec::with_capacity(count);
    let mut behind = last.get().checked_sub(count as u64)?;
    for (count, bytes) in sizes {
        if bytes > rest.len() {
            return None;
        }
        behind += count as u64;
        let pack = Pack { last: Offset::new(behind), count, value: rest.split_to(bytes) };
        let events = pack.unpack()?.into_iter();
        records.extend(events.map(|(offset, payload)| Record::single(offset, payload)));
    }
    Some(Change { node, is_deletion, stat, records })
}

/// The most runs in one message of the channel of all changes.
const CHANGED_MAX: usize = 1_000;

/// Messages of the channel of all changes: the node, and the runs that it changed.
pub(crate) fn changed(node: &str, runs: impl IntoIterator<Item = RunId>) -> Vec<String> {
    let runs: Vec<RunId> = runs.into_iter().collect();
    let message = |runs: &[RunId]| {
        runs.iter().fold(node.to_owned(), |message, run| message + " " + run.as_str())
    };
    runs.chunks(CHANGED_MAX).map(message).collect()
}

/// Reads such a message.
pub(crate) fn read_changed(message: &[u8]) -> Option<(&str, Vec<RunId>)> {
    let mut words = std::str::from_utf8(message).ok()?.split(' ');
    let node = words.next()?;
    Some((node, words.filter_map(|run| RunId::from_stored(run).ok()).collect()))
}

#[cfg(test)]
mod tests {
    use runcast_log::engine::Stream;

    use super::*;
    use crate::pack::pack;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let mut stream = Stream::new(Epoch::FIRST);
        stream.last = Offset::new(6);
        stream.begin_epoch(2);
        stream.last = Offset::new(8);
        let stat = stream.stat();
        let record =
            |(offset, text): (u64, &'static str)| Record::single(Offset::new(offset), text.into());
        let packs = pack(&[(7, "one\n"), (8, "")].map(record));
        let mut message = head("n1", 'a', (&stat, stream.phase), &packs).into_bytes();
        packs.iter().for_each(|pack| message.extend(&pack.value[..]));
        let change = read(message).unwrap();
        assert_eq!((change.node.as_str(), change.is_deletion), ("n1", false));
        assert_eq!(change.stat, stat);
        let events: Vec<_> =
            change.records.iter().map(|r| (r.offset.get(), &r.payload[..])).collect();
        assert_eq!(events, [(7, &b"one\n"[..]), (8, &b""[..])]);
    }

    #[test]
    fn what_is_no_message_is_none() {
        for bytes in [&b""[..], b"n a", b"n a 1 1 o 0  1:1,\nx", b"n a 1 1 o 1  1:9,\nabc"] {
            assert_eq!(read(bytes.to_vec()), None);
        }
    }
}
