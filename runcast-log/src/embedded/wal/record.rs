//! Records: appends, deletions and the log's own notes, as bytes.
//!
//! Decoding trusts nothing: any bytes give a record or a fault, never a panic.

use bytes::Bytes;
use runcast_event::{Epoch, Offset};

use crate::embedded::joined::{EventPlace, Parts, StoredEvent};
use crate::embedded::number::{Rest, put_varint, u32_at};

#[cfg(test)]
mod tests;

/// What stands before the name.
pub(crate) const FIXED_LENGTH: usize = 12;

const KIND_APPEND: u8 = 1;
const KIND_DELETE: u8 = 2;
const KIND_NEW_EPOCH: u8 = 3;
const KIND_OPENED: u8 = 4;
const KIND_CLOSED_CLEANLY: u8 = 5;
const KIND_TRIM: u8 = 6;
const KIND_JOINED: u8 = 7;

const FLAG_CLOSE: u8 = 1;
const FLAG_BEGINS: u8 = 2;
const FLAG_PRODUCER: u8 = 4;
const FLAG_RELAXED: u8 = 1;

/// A record as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    Append(StoredAppend<'a>),
    Note(Note<'a>),
}

/// What is not an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note<'a> {
    Delete {
        run: &'a str,
    },
    /// The first event that is kept, and what stands for those before it.
    Trim {
        run: &'a str,
        before: Offset,
        base: &'a [u8],
    },
    /// So many epochs go by at once.
    NewEpoch {
        by: u32,
    },
    Opened {
        boot_id: &'a str,
        relaxed: bool,
    },
    ClosedCleanly,
}

/// An append as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredAppend<'a> {
    pub(crate) run: &'a str,
    pub(crate) epoch: Epoch,
    pub(crate) begins: bool,
    pub(crate) close: bool,
    pub(crate) first: Offset,
    pub(crate) count: u64,
    /// Id, epoch, sequence of the first event.
    pub(crate) producer: Option<(&'a str, u64, u64)>,
    lengths: &'a [u8],
    /// Whether some of the events are stored as one: then of each that is stored, its length is said, how
    /// many it stands for, and of several where their parts begin and how long they are.
    is_joined: bool,
    /// Where the first event begins in the record.
    events_start: usize,
    pub(crate) events_bytes: usize,
}

/// An append as it is written.
#[derive(Debug)]
pub(crate) struct NewAppend<'a> {
    pub(crate) run: &'a str,
    pub(crate) epoch: Epoch,
    pub(crate) begins: bool,
    pub(crate) close: bool,
    pub(crate) first: Offset,
    pub(crate) producer: Option<(&'a str, u64, u64)>,
    pub(crate) events: &'a [Bytes],
}

impl NewAppend<'_> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let flags = if self.close { FLAG_CLOSE } else { 0 }
            | if self.begins { FLAG_BEGINS } else { 0 }
            | if self.producer.is_some() { FLAG_PRODUCER } else { 0 };
        let producer_id = self.producer.map_or("", |(id, _, _)| id);
        let start = begin(out, KIND_APPEND, flags, self.run, producer_id);
        put_varint(out, u64::from(self.epoch.get()));
        put_varint(out, self.first.get());
        put_varint(out, self.events.len() as u64);
        if let Some((_, epoch, sequence)) = self.producer {
            put_varint(out, epoch);
            put_varint(out, sequence);
        }
        for event in self.events {
            put_varint(out, event.len() as u64);
        }
        for event in self.events {
            out.extend_from_slice(event);
        }
        end(out, start);
    }
}

/// A segment's block as it is written: an append without flags.
#[derive(Debug)]
pub(crate) struct NewBlock<'a> {
    pub(crate) run: &'a str,
    /// The epoch that the stream began in.
    pub(crate) born: Epoch,
    /// At least one.
    pub(crate) events: &'a [StoredEvent],
}

impl NewBlock<'_> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let Some(first) = self.events.first().map(StoredEvent::first) else { return };
        let is_joined = self.events.iter().any(|event| event.count() > 1);
        let kind = if is_joined { KIND_JOINED } else { KIND_APPEND };
        let start = begin(out, kind, 0, self.run, "");
        put_varint(out, u64::from(self.born.get()));
        put_varint(out, first.get());
        put_varint(out, self.events.iter().map(StoredEvent::count).sum());
        for event in self.events {
            put_varint(out, event.bytes.len() as u64);
            if is_joined {
                put_varint(out, event.count());
            }
            if event.count() > 1 {
                put_varint(out, event.start as u64);
                event.lengths.iter().for_each(|length| put_varint(out, u64::from(*length)));
            }
        }
        for event in self.events {
            out.extend_from_slice(&event.bytes);
        }
        end(out, start);
    }
}

impl Note<'_> {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let (kind, flags, name) = match self {
            Self::Delete { run } => (KIND_DELETE, 0, *run),
            Self::Trim { run, .. } => (KIND_TRIM, 0, *run),
            Self::NewEpoch { .. } => (KIND_NEW_EPOCH, 0, ""),
            Self::Opened { boot_id, relaxed: true } => (KIND_OPENED, FLAG_RELAXED, *boot_id),
            Self::Opened { boot_id, relaxed: false } => (KIND_OPENED, 0, *boot_id),
            Self::ClosedCleanly => (KIND_CLOSED_CLEANLY, 0, ""),
        };
        let start = begin(out, kind, flags, name, "");
        match self {
            Self::Trim { before, base, .. } => {
                put_varint(out, before.get());
                out.extend_from_slice(base);
            }
            Self::NewEpoch { by } if *by != 1 => put_varint(out, u64::from(*by)),
            _ => {}
        }
        end(out, start);
    }
}

fn begin(out: &mut Vec<u8>, kind: u8, flags: u8, name: &str, producer_id: &str) -> usize {
    let short = |text: &str| u8::try_from(text.len()).expect("ids have at most 128 characters");
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&[kind, flags, short(name), short(producer_id)]);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(producer_id.as_bytes());
    start
}

fn end(out: &mut [u8], start: usize) {
    let record = &mut out[start..];
    let length = u32::try_from(record.len()).expect("a record is bounded far below 4 GiB");
    record[4..8].copy_from_slice(&length.to_le_bytes());
    let checksum = crc32c::crc32c(&record[4..]);
    record[..4].copy_from_slice(&checksum.to_le_bytes());
}

/// The length of the record at the front of `bytes` if what it begins with can be a record's.
pub(crate) fn length_if_likely(bytes: &[u8]) -> Option<usize> {
    let fixed = bytes.get(..FIXED_LENGTH)?;
    let length = u32_at(fixed, 4) as usize;
    let texts = usize::from(fixed[10]) + usize::from(fixed[11]);
    let all_flags = FLAG_CLOSE | FLAG_BEGINS | FLAG_PRODUCER;
    let is_likely = (KIND_APPEND..=KIND_JOINED).contains(&fixed[8]) && fixed[9] <= all_flags;
    (is_likely && length >= FIXED_LENGTH + texts).then_some(length)
}

/// The record at the front of `bytes`, and its length.
pub(crate) fn decode(bytes: &[u8]) -> Result<(Record<'_>, usize), &'static str> {
    let fixed = bytes.get(..FIXED_LENGTH).ok_or("a record is cut off")?;
    let length = u32_at(fixed, 4) as usize;
    let record = bytes.get(..length).ok_or("a record is cut off")?;
    if length < FIXED_LENGTH {
        return Err("a record is too short");
    }
    if crc32c::crc32c(&record[4..]) != u32_at(record, 0) {
        return Err("a record's checksum is wrong");
    }
    parse(record).ok_or("a record is not of this format").map(|record| (record, length))
}

fn parse(record: &[u8]) -> Option<Record<'_>> {
    let (kind, flags) = (record[8], record[9]);
    let mut rest = Rest::new(record, FIXED_LENGTH);
    let name = rest.text(record[10].into())?;
    let producer_id = rest.text(record[11].into())?;
    if kind == KIND_APPEND || (kind == KIND_JOINED && flags == 0) {
        let is_joined = kind == KIND_JOINED;
        return parse_append(rest, flags, name, producer_id, is_joined).map(Record::Append);
    }
    if kind == KIND_TRIM {
        let before = Offset::new(rest.varint()?);
        let base = &record[rest.at..];
        return Some(Record::Note(Note::Trim { run: name, before, base }));
    }
    // One epoch is not written down, as it was before there could be more.
    let by = match kind {
        KIND_NEW_EPOCH if !rest.is_empty() => u32::try_from(rest.varint()?).ok()?,
        _ => 1,
    };
    if !rest.is_empty() {
        return None;
    }
    Some(Record::Note(match kind {
        KIND_DELETE => Note::Delete { run: name },
        KIND_NEW_EPOCH => Note::NewEpoch { by },
        KIND_OPENED => Note::Opened { boot_id: name, relaxed: flags & FLAG_RELAXED != 0 },
        KIND_CLOSED_CLEANLY => Note::ClosedCleanly,
        _ => return None,
    }))
}

fn parse_append<'a>(
    mut rest: Rest<'a>,
    flags: u8,
    run: &'a str,
    producer_id: &'a str,
    is_joined: bool,
) -> Option<StoredAppend<'a>> {
    let epoch = Epoch::new(u32::try_from(rest.varint()?).ok()?)?;
    let first = rest.varint()?;
    let count = rest.varint()?;
    // Behind the last offset nothing could be counted any more.
    let last = first.checked_add(count)?;
    if first == 0 || count == 0 || last > Offset::MAX.get() {
        return None;
    }
    let producer = if flags & FLAG_PRODUCER != 0 {
        let (epoch, sequence) = (rest.varint()?, rest.varint()?);
        sequence.checked_add(count)?;
        Some((producer_id, epoch, sequence))
    } else {
        None
    };
    let lengths_start = rest.at;
    let mut events_bytes = 0_usize;
    let mut left = count;
    while left > 0 {
        let (length, parts) = stored_event(&mut rest, is_joined)?;
        left = left.checked_sub(parts.map_or(1, |parts| parts.count))?;
        events_bytes = events_bytes.checked_add(length)?;
    }
    let lengths = &rest.bytes[lengths_start..rest.at];
    (rest.at.checked_add(events_bytes)? == rest.bytes.len()).then_some(StoredAppend {
        run,
        epoch,
        begins: flags & FLAG_BEGINS != 0,
        close: flags & FLAG_CLOSE != 0,
        first: Offset::new(first),
        count,
        producer,
        lengths,
        is_joined,
        events_start: rest.at,
        events_bytes,
    })
}

/// The length of the next event, and its parts if it stands for several.
fn stored_event<'a>(rest: &mut Rest<'a>, is_joined: bool) -> Option<(usize, Option<Parts<'a>>)> {
    let length = usize::try_from(rest.varint()?).ok()?;
    let count = if is_joined { rest.varint()? } else { 1 };
    if count < 2 {
        return (count == 1).then_some((length, None));
    }
    let start = usize::try_from(rest.varint()?).ok()?;
    let lengths_start = rest.at;
    let mut end = start;
    for _ in 0..count {
        end = end.checked_add(usize::try_from(rest.varint()?).ok()?)?;
    }
    let lengths = &rest.bytes[lengths_start..rest.at];
    (end <= length).then_some((length, Some(Parts { count, start, lengths })))
}

impl<'a> StoredAppend<'a> {
    /// The places of the events in the record, with their offsets.
    pub(crate) fn events(&self) -> impl Iterator<Item = EventPlace<'a>> + use<'a> {
        let mut lengths = Rest::new(self.lengths, 0);
        let (mut start, mut last) = (self.events_start, self.first.get() - 1);
        let is_joined = self.is_joined;
        std::iter::from_fn(move || {
            let (length, parts) = stored_event(&mut lengths, is_joined)?;
            let place = start..start + length;
            start = place.end;
            last += parts.map_or(1, |parts| parts.count);
            Some(EventPlace { last: Offset::new(last), place, parts })
        })
    }
}
