//! The write-ahead log's format, version 2.
//!
//! Version 2 has the feed: a stream with the name `$feed`, whose records stand in the groups of what
//! they tell of. A file of version 1 is read, and never written to again: a new one begins behind it.
//!
//! A log is the files `wal-0000000001.log`, `wal-0000000002.log` … in one directory. All numbers
//! are little-endian; `varint` is LEB128, at most 10 bytes. A checksum is CRC-32C.
//!
//! **File** = file header, then groups without anything between them, then possibly room: zeros up to
//! the end, into which the next groups are written.
//!
//! | at | bytes | file header |
//! |---|---|---|
//! | 0 | 8 | `RUNCASTW` |
//! | 8 | 4 | format version; a reader refuses a newer one |
//! | 12 | 4 | zero |
//! | 16 | 16 | log id, random, the same in all files of a log |
//! | 32 | 8 | file number, from 1 |
//! | 40 | 8 | number of the first group in the file |
//! | 48 | 12 | zero |
//! | 60 | 4 | checksum of bytes 0 to 60 |
//!
//! A file is written under the name `….new`, synced, and renamed, so that its header is never torn.
//! The file before it is synced first: only the newest file can end in an unfinished write.
//!
//! **Group** = group header, then its body: records. What is written in one write, and counts as a
//! whole or not at all.
//!
//! | at | bytes | group header |
//! |---|---|---|
//! | 0 | 4 | `GRUP` |
//! | 4 | 4 | flags: bit 0, written with relaxed durability |
//! | 8 | 8 | group number: 1 in the first file, then one more each time |
//! | 16 | 8 | number of the newest group that was known to be synced when this one was written |
//! | 24 | 8 | the last 8 bytes of the log id |
//! | 32 | 4 | length of the body in bytes |
//! | 36 | 4 | number of records |
//! | 40 | 4 | checksum of bytes 0 to 40 |
//!
//! **Record**: one append to one stream (a large one is several records of the same group), or a
//! note of the log itself.
//!
//! | at | bytes | record |
//! |---|---|---|
//! | 0 | 4 | checksum of everything behind it |
//! | 4 | 4 | length of the record, with these 8 bytes |
//! | 8 | 1 | kind: 1 append, 2 delete, 3 new epoch, 4 opened, 5 closed cleanly |
//! | 9 | 1 | flags: of an append, bit 0 closes the stream, bit 1 makes it, bit 2 has a producer; of an opened, bit 0 relaxed |
//! | 10 | 1 | length of the name |
//! | 11 | 1 | length of the producer id; 0 without one |
//! | 12 | | the name: the run id or `$feed`, or for an opened the boot id |
//! | | | the producer id |
//! | | | of an append: varint epoch, varint first offset, varint number of events; with a producer varint its epoch, varint the sequence of the first event; a varint length for each event; the events |
//!
//! A *delete* leaves a tombstone: the name's next stream has the next epoch. A *new epoch* says that
//! acknowledged events may have been lost before it: every stream that is not closed, every
//! tombstone, and every name that is used for the first time goes an epoch on, or as many as a varint
//! behind it says (a restored log passes over all that there may have been elsewhere). *Opened* begins
//! each time that a process has the log, *closed cleanly* ends it.
//!
//! **Recovery** reads all groups in order. A group that is not whole, in the newest file, is an
//! unfinished write and is cut off, unless a later group's header says that it had been synced:
//! then acknowledged events are damaged and the log is refused, as it is for a fault in any other
//! file. With durability `sync` each group is synced before the next is written, so that any later
//! group proves it. Where later groups exist and do not prove it, durability was relaxed and the
//! machine crashed: they are cut off too, and a new epoch begins.

#[cfg(test)]
mod fuzz;
pub(crate) mod group;
pub(crate) mod header;
pub(crate) mod record;

/// The newest format that this code reads, and the one it writes.
pub const FORMAT_VERSION: u32 = 3;

/// The name of a file by its number.
pub(crate) fn file_name(number: u32) -> String {
    format!("wal-{number:010}.log")
}

/// The number of a file by its name.
pub(crate) fn file_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("wal-")?.strip_suffix(".log")?;
    let number = digits.parse().ok()?;
    (file_name(number) == name).then_some(number)
}
