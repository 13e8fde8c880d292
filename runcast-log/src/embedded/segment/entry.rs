//! A stream's entry in a segment's index: how the stream stood, and where its blocks are.
//!
//! Decoding trusts nothing: any bytes give an entry or none, never a panic.

use std::sync::Arc;

use runcast_event::{Epoch, Offset, ProducerId, RunId};

use crate::embedded::base::BasePlace;
use crate::embedded::extent::Extent;
use crate::embedded::number::{Rest, put_varint};
use crate::stream::{Mark, Phase, Producers, Stream};

const PHASE_BITS: u8 = 3;
const FLAG_BASES: u8 = 4;
const FLAG_PRODUCERS: u8 = 8;
const FLAG_BLOCKS: u8 = 16;
const FLAG_TRIM_BASE: u8 = 32;
const FLAG_TRIM_BASE_ELSEWHERE: u8 = 64;
const FLAGS_ALL: u8 = 127;

/// What stands before the name: its length and the flags.
const FIXED_LENGTH: usize = 2;
/// The most that a block's record has beside its name and its events' lengths. The last is for events
/// that are stored as one: what else is said of them than their lengths is more than those lengths are
/// short by only for the few in a block that have 16 KiB and stand for two or three.
const RECORD_OVERHEAD_MAX: u64 = 12 + 5 + 10 + 5 + 16;
/// The most that the length of an event takes.
const LENGTH_BYTES_MAX: u64 = 5;

/// A stream's blocks: they lie one behind the other and follow each other without a hole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NewBlocks {
    position: u64,
    first: u64,
    /// For each block its events and its bytes.
    sizes: Vec<(u32, u32)>,
    /// What stands for events that were trimmed: right before the first block.
    pub(crate) base: Option<BasePlace>,
}

impl NewBlocks {
    pub(crate) fn push(&mut self, position: u64, first: Offset, events: u32, bytes: u32) {
        if self.sizes.is_empty() {
            (self.position, self.first) = (position, first.get());
        }
        self.sizes.push((events, bytes));
    }

    /// The offset behind the last event.
    pub(crate) fn next(&self) -> Option<u64> {
        let events: u64 = self.sizes.iter().map(|(events, _)| u64::from(*events)).sum();
        (!self.sizes.is_empty()).then(|| self.first + events)
    }

    pub(crate) fn clear(&mut self) {
        self.sizes.clear();
        self.base = None;
    }
}

/// Writes an entry.
pub(crate) fn encode(name: &str, stream: &Stream, blocks: &NewBlocks, out: &mut Vec<u8>) {
    let phase = match stream.phase {
        Phase::Open => 0,
        Phase::Closed => 1,
        Phase::Deleted => 2,
    };
    let producers = stream.producers.all();
    let flag = |is_there: bool, flag: u8| if is_there { flag } else { 0 };
    let flags = phase
        | flag(!stream.epoch_bases.is_empty(), FLAG_BASES)
        | flag(!producers.is_empty(), FLAG_PRODUCERS)
        | flag(!blocks.sizes.is_empty(), FLAG_BLOCKS)
        | flag(blocks.base.is_some(), FLAG_TRIM_BASE)
        | flag(stream.has_base && blocks.base.is_none(), FLAG_TRIM_BASE_ELSEWHERE);
    out.push(u8::try_from(name.len()).expect("ids have at most 128 characters"));
    out.push(flags);
    out.extend_from_slice(name.as_bytes());
    put_varint(out, u64::from(stream.epoch.get()));
    put_varint(out, u64::from(stream.epoch.get() - stream.born.get()));
    put_varint(out, stream.first.get());
    put_varint(out, stream.kept());
    if let Some(base) = &blocks.base {
        put_varint(out, base.position);
        put_varint(out, u64::from(base.length));
    }
    if flags & FLAG_BASES != 0 {
        put_varint(out, stream.epoch_bases.len() as u64);
        for (epoch, base) in stream.epoch_bases.iter() {
            put_varint(out, u64::from(epoch.get()));
            put_varint(out, base.get());
        }
    }
    if flags & FLAG_PRODUCERS != 0 {
        put_varint(out, producers.len() as u64);
        for (id, mark) in producers {
            out.push(u8::try_from(id.as_str().len()).expect("ids have at most 128 characters"));
            out.extend_from_slice(id.as_str().as_bytes());
            put_varint(out, mark.epoch);
            put_varint(out, mark.next);
        }
    }
    if flags & FLAG_BLOCKS != 0 {
        put_varint(out, blocks.position);
        put_varint(out, blocks.first);
        put_varint(out, blocks.sizes.len() as u64);
        for (events, bytes) in &blocks.sizes {
            put_varint(out, u64::from(*events));
            put_varint(out, u64::from(*bytes));
        }
    }
}

/// The name of the entry at a place, if there is room for one.
pub(crate) fn name_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let length = usize::from(*bytes.get(at)?);
    bytes.get(at + FIXED_LENGTH..at + FIXED_LENGTH + length)
}

/// An entry as it stands in the index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredEntry<'a> {
    pub(crate) name: &'a str,
    pub(crate) phase: Phase,
    pub(crate) epoch: Epoch,
    pub(crate) born: Epoch,
    pub(crate) first: Offset,
    pub(crate) last: Offset,
    /// What stands for the events before `first`, if a write-ahead log of this segment put it there.
    pub(crate) base: Option<BasePlace>,
    flags: u8,
    /// Behind the fixed part.
    rest: Rest<'a>,
}

impl<'a> StoredEntry<'a> {
    /// Reads the part of an entry that every entry has.
    pub(crate) fn decode(bytes: &'a [u8], at: usize) -> Option<Self> {
        let mut rest = Rest::new(bytes, at);
        let length = rest.byte()?;
        let flags = rest.byte()?;
        let phase = match flags & PHASE_BITS {
            0 => Phase::Open,
            1 => Phase::Closed,
            2 => Phase::Deleted,
            _ => return None,
        };
        let name = rest.text(length.into())?;
        let epoch = u32::try_from(rest.varint()?).ok()?;
        let since = u32::try_from(rest.varint()?).ok()?;
        let (first, kept) = (rest.varint()?, rest.varint()?);
        let last = first.checked_sub(1)?.checked_add(kept)?;
        if flags & !FLAGS_ALL != 0 || last >= Offset::MAX.get() {
            return None;
        }
        let base = if flags & FLAG_TRIM_BASE != 0 {
            let (position, length) = (rest.varint()?, u32::try_from(rest.varint()?).ok()?);
            position.checked_add(length.into()).filter(|_| length > 0)?;
            Some(BasePlace { file: 0, position, length })
        } else {
            None
        };
        Some(Self {
            name,
            phase,
            epoch: Epoch::new(epoch)?,
            born: Epoch::new(epoch.checked_sub(since)?)?,
            first: Offset::new(first),
            last: Offset::new(last),
            base,
            flags,
            rest,
        })
    }

    /// The whole entry, checked: the stream, its blocks, and where the entry ends.
    pub(crate) fn read(&self) -> Option<(Stream, Blocks<'a>, usize)> {
        let mut rest = self.rest;
        let mut bases = Vec::new();
        if self.flags & FLAG_BASES != 0 {
            for _ in 0..rest.varint()? {
                let epoch = Epoch::new(u32::try_from(rest.varint()?).ok()?)?;
                bases.push((epoch, Offset::new(rest.varint()?)));
            }
        }
        let mut producers: Vec<(ProducerId, Mark)> = Vec::new();
        if self.flags & FLAG_PRODUCERS != 0 {
            for _ in 0..rest.varint()? {
                let length = rest.byte()?;
                let id = ProducerId::new(rest.text(length.into())?).ok()?;
                if producers.last().is_some_and(|(before, _)| before.as_str() >= id.as_str()) {
                    return None;
                }
                producers.push((id, Mark { epoch: rest.varint()?, next: rest.varint()? }));
            }
        }
        let blocks = Blocks::read(&mut rest, self.flags & FLAG_BLOCKS != 0, self.name)?;
        let stream = Stream {
            first: self.first,
            has_base: self.flags & (FLAG_TRIM_BASE | FLAG_TRIM_BASE_ELSEWHERE) != 0,
            last: self.last,
            phase: self.phase,
            epoch: self.epoch,
            born: self.born,
            // Nothing is allocated for none, which is usual.
            epoch_bases: if bases.is_empty() { Arc::default() } else { bases.into() },
            producers: Producers::stored(producers),
        };
        Some((stream, blocks, rest.at))
    }

    /// The name as an id.
    pub(crate) fn run(&self) -> Option<RunId> {
        RunId::from_stored(self.name).ok()
    }
}

/// The blocks of one stream in one segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocks<'a> {
    sizes: Rest<'a>,
    left: u64,
    position: u64,
    first: u64,
    name_length: u64,
}

impl<'a> Blocks<'a> {
    fn read(rest: &mut Rest<'a>, are_there: bool, name: &str) -> Option<Self> {
        let name_length = name.len() as u64;
        if !are_there {
            return Some(Self { sizes: *rest, left: 0, position: 0, first: 0, name_length });
        }
        let (position, first, left) = (rest.varint()?, rest.varint()?, rest.varint()?);
        let blocks = Self { sizes: *rest, left, position, first, name_length };
        if left == 0 || first == 0 {
            return None;
        }
        let (mut events_all, mut bytes_all) = (0_u64, 0_u64);
        for _ in 0..left {
            let (events, bytes) = (rest.varint()?, rest.varint()?);
            u32::try_from(events).ok().filter(|events| *events > 0)?;
            u32::try_from(bytes).ok().filter(|bytes| *bytes > 0)?;
            events_all = events_all.checked_add(events)?;
            bytes_all = bytes_all.checked_add(bytes)?;
        }
        position.checked_add(bytes_all)?;
        (first.checked_add(events_all)? <= Offset::MAX.get()).then_some(blocks)
    }
}

impl Iterator for Blocks<'_> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        self.left = self.left.checked_sub(1)?;
        let (events, bytes) = (self.sizes.varint()?, self.sizes.varint()?);
        let overhead = RECORD_OVERHEAD_MAX + self.name_length + events * LENGTH_BYTES_MAX;
        let block = Extent {
            first: self.first,
            position: self.position,
            count: events as u32,
            file: 0,
            length: bytes as u32,
            // At least: a page is never shorter than it may be.
            events_bytes: bytes.saturating_sub(overhead) as u32,
        };
        self.first += events;
        self.position += bytes;
        Some(block)
    }
}
