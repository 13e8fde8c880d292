//! What nodes tell each other by Pub/Sub: a line about the change, then the events.

use bytes::{Buf as _, Bytes};
use runcast_event::{Epoch, Offset, RunId};
use runcast_log::engine::Phase;
use runcast_log::{Record, StreamStat};

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

/// The line about a batch that begins at an offset, or about a deletion.
pub(crate) fn head(
    node: &str,
    kind: char,
    version: u64,
    (stat, phase, first): (&StreamStat, Phase, Offset),
) -> String {
    let StreamStat { first: kept, last, epoch, epoch_bases, .. } = stat;
    let (phase, bases) = (phase_letter(phase), shown_bases(epoch_bases));
    format!("{node} {kind} {version} {kept} {last} {phase} {epoch} {first} {bases}\n")
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
    let _version: u64 = words.next()?.parse().ok()?;
    let (kept, last) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let closed = words.next()? == "c";
    let epoch = Epoch::new(words.next()?.parse().ok()?)?;
    let first: u64 = words.next()?.parse().ok()?;
    let epoch_bases = bases(words.next()?).ok()?;
    let (kept, last) = (Offset::new(kept), Offset::new(last));
    let stat = StreamStat { first: kept, last, closed, epoch, epoch_bases };
    let mut records = Vec::new();
    let mut offset = Offset::new(first);
    while rest.len() >= 4 {
        let length = rest.get_u32() as usize;
        if length > rest.len() {
            return None;
        }
        records.push(Record::single(offset, rest.split_to(length)));
        offset = offset.next();
    }
    Some(Change { node, is_deletion, stat, records })
}

/// Reads a message of the channel of all changes: the node, and the run.
pub(crate) fn read_changed(message: &[u8]) -> Option<(&str, RunId)> {
    let (node, run) = std::str::from_utf8(message).ok()?.split_once(' ')?;
    Some((node, RunId::from_stored(run).ok()?))
}

#[cfg(test)]
mod tests {
    use runcast_log::engine::Stream;

    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let mut stream = Stream::new(Epoch::FIRST);
        stream.last = Offset::new(6);
        stream.begin_epoch(2);
        stream.last = Offset::new(8);
        let stat = stream.stat();
        let mut message = head("n1", 'a', 7, (&stat, stream.phase, Offset::new(7))).into_bytes();
        for event in ["one\n", ""] {
            message.extend((event.len() as u32).to_be_bytes());
            message.extend(event.as_bytes());
        }
        let change = read(message).unwrap();
        assert_eq!((change.node.as_str(), change.is_deletion), ("n1", false));
        assert_eq!(change.stat, stat);
        let events: Vec<_> =
            change.records.iter().map(|r| (r.offset.get(), &r.payload[..])).collect();
        assert_eq!(events, [(7, &b"one\n"[..]), (8, &b""[..])]);
    }

    #[test]
    fn what_is_no_message_is_none() {
        for bytes in [&b""[..], b"n a", b"n a 1 1 1 o 0 1 \n", b"n a 1 1 1 o 1 1 \n\0\0\0\x09abc"] {
            assert_eq!(read(bytes.to_vec()), None);
        }
    }
}
