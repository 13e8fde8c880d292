//! How events lie in an entry of a Redis stream: one as it is, several behind each other, each behind its
//! length (4 bytes, big-endian). So many events cost Redis little more than one.
//!
//! The entry's id begins with the offset of its newest event. Its one field is named by the node that
//! appended it, and by the number of events if they are several: `<node>*<count>`.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use runcast_event::Offset;
use runcast_log::Record;

/// The most events in one entry. A reader of one of them reads all.
const EVENTS_MAX: usize = 256;
/// The most bytes of events in one entry, unless one event has more.
pub(crate) const BYTES_MAX: usize = 32 * 1024;

/// Events of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pack {
    /// The offset of the newest.
    pub(crate) last: Offset,
    pub(crate) count: usize,
    pub(crate) value: Bytes,
}

/// Puts events, in order, into entries.
pub(crate) fn pack(records: &[Record]) -> Vec<Pack> {
    let mut packs = Vec::new();
    let mut rest = records;
    while let Some(first) = rest.first() {
        let mut bytes = first.payload.len();
        let more = rest[1..].iter().take(EVENTS_MAX - 1).take_while(|record| {
            bytes += record.payload.len();
            bytes <= BYTES_MAX
        });
        let count = 1 + more.count();
        let (packed, left) = rest.split_at(count);
        let last = packed.last().map_or(first.offset, |record| record.offset);
        packs.push(Pack { last, count, value: value_of(packed) });
        rest = left;
    }
    packs
}

fn value_of(records: &[Record]) -> Bytes {
    if let [record] = records {
        return record.payload.clone();
    }
    let bytes: usize = records.iter().map(|record| 4 + record.payload.len()).sum();
    let mut value = BytesMut::with_capacity(bytes);
    for Record { payload, .. } in records {
        value.put_u32(
            u32::try_from(payload.len()).expect("one of several is smaller than an entry"),
        );
        value.put_slice(payload);
    }
    value.freeze()
}

impl Pack {
    /// The name of the entry's field.
    pub(crate) fn field(&self, node: &str) -> String {
        if self.count == 1 { node.to_owned() } else { format!("{node}*{}", self.count) }
    }

    /// The node and the number of events that a field's name says.
    pub(crate) fn read_field(name: &[u8]) -> Option<(&[u8], usize)> {
        let Some(star) = name.iter().position(|byte| *byte == b'*') else { return Some((name, 1)) };
        let count = std::str::from_utf8(&name[star + 1..]).ok()?.parse().ok()?;
        (1..=EVENTS_MAX).contains(&count).then_some((&name[..star], count))
    }

    /// The events, in order. None if they are not packed like this.
    pub(crate) fn unpack(mut self) -> Option<Vec<(Offset, Bytes)>> {
        if self.count == 1 {
            return Some(vec![(self.last, self.value)]);
        }
        let first = (self.last.get() + 1).checked_sub(self.count as u64)?;
        let mut events = Vec::with_capacity(self.count);
        for offset in first..=self.last.get() {
            if self.value.len() < 4 {
                return None;
            }
            let length = self.value.get_u32() as usize;
            if length > self.value.len() {
                return None;
            }
            events.push((Offset::new(offset), self.value.split_to(length)));
        }
        self.value.is_empty().then_some(events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(sizes: &[usize]) -> Vec<Record> {
        let record = |(offset, size): (u64, &usize)| {
            Record::single(Offset::new(offset), vec![offset as u8; *size].into())
        };
        (7..).zip(sizes).map(record).collect()
    }

    #[test]
    fn events_are_unpacked_as_they_were_packed() {
        let many = vec![10; 600];
        for sizes in [&[][..], &[5], &[0, 0], &[BYTES_MAX + 9], &[1, BYTES_MAX, 1], &many] {
            let records = records(sizes);
            let packs = pack(&records);
            assert!(packs.iter().all(|pack| pack.count <= EVENTS_MAX));
            let back = packs.into_iter().flat_map(|pack| {
                let name = pack.field("node");
                assert_eq!(Pack::read_field(name.as_bytes()), Some((&b"node"[..], pack.count)));
                pack.unpack().unwrap()
            });
            let expected = records.into_iter().map(|record| (record.offset, record.payload));
            assert!(back.eq(expected), "{sizes:?}");
        }
    }

    #[test]
    fn what_was_not_packed_is_not_unpacked() {
        let pack = |count, value: &'static [u8]| Pack {
            last: Offset::new(2),
            count,
            value: Bytes::from_static(value),
        };
        for wrong in
            [pack(2, b""), pack(2, b"\0\0\0\x01a\0\0\0\x02b"), pack(4, b"\0\0\0\0\0\0\0\0")]
        {
            assert_eq!(wrong.unpack(), None);
        }
        assert_eq!(pack(2, b"\0\0\0\0\0\0\0\0x").unpack(), None, "there is more");
        for name in [&b"n*0"[..], b"n*", b"n*x", b"n*100000"] {
            assert_eq!(Pack::read_field(name), None);
        }
    }
}
