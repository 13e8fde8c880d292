//! The end of the log: the newest file, and where the next group goes.
//!
//! Owns the file's length. Behind the last group the file has room: zeros, written ahead. A group
//! that is written into it changes no metadata of the file, so that a sync writes the group and
//! nothing else; where the file has to grow for each group, a sync also writes its inode.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::embedded::disk::DiskFile;
use crate::embedded::wal::header::{self, FileHeader};

/// The least room that a file is given.
const ROOM_BYTES_MIN: u64 = 64 * 1024;
/// A file is given this part of what is in it, so that a small log takes little.
const ROOM_PART: u64 = 4;
/// A group of at least this part of the room costs so much more than the inode that it needs none.
const LARGE_GROUP_PART: u64 = 16;
/// How much room is written at a time.
const ZEROS: &[u8] = &[0; 64 * 1024];

pub(crate) struct Tail {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: FileHeader,
    /// Where the last whole group ends.
    pub(crate) length: u64,
    /// The file's length; behind the last group there is room.
    file_length: u64,
    /// Room is made again when the groups come to here: it did not work before.
    room_from: u64,
    pub(crate) next_group: u64,
    pub(crate) synced_group: u64,
    /// When the oldest group that is not synced was written.
    pub(crate) unsynced_since: Option<Instant>,
    /// Something may stand behind `length` that is no room, and has to be cut off.
    is_dirty: bool,
}

/// What a file is given as room.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// The most.
    pub(crate) bytes_max: u64,
    /// Where the next file begins, past which none is needed.
    pub(crate) end: u64,
}

impl Tail {
    /// The end of a log whose groups are all on the disk.
    pub(crate) fn new(
        file: Arc<dyn DiskFile>,
        header: FileHeader,
        length: u64,
        next_group: u64,
    ) -> io::Result<Self> {
        let file_length = file.length()?;
        Ok(Self {
            file,
            header,
            length,
            file_length,
            room_from: 0,
            next_group,
            synced_group: next_group - 1,
            unsynced_since: None,
            is_dirty: false,
        })
    }

    /// Goes on in a new file.
    pub(crate) fn turn_to(&mut self, file: Arc<dyn DiskFile>, header: FileHeader) {
        (self.file, self.header) = (file, header);
        self.length = header::LENGTH as u64;
        (self.file_length, self.room_from, self.is_dirty) = (self.length, 0, false);
    }

    /// The file's length in bytes, as far as it is known.
    pub(crate) fn file_length(&self) -> u64 {
        self.file_length
    }

    /// Writes a group behind the last. What a failed write has left is cut off.
    pub(crate) fn write(&mut self, group: &[u8], room: Room, now: Instant) -> io::Result<()> {
        let end = self.length + group.len() as u64;
        if end > self.file_length {
            let is_small = (group.len() as u64) < room.bytes_max / LARGE_GROUP_PART;
            if is_small && end >= self.room_from {
                self.make_room(end, room);
            }
        }
        if let Err(error) = self.file.write_all_at(group, self.length) {
            let _before_the_next = self.cut();
            // The cut has to be on the disk before another file follows: then there are no unfinished
            // writes at this one's end.
            self.unsynced_since.get_or_insert(now);
            return Err(error);
        }
        self.file_length = self.file_length.max(end);
        self.length = end;
        self.next_group += 1;
        self.unsynced_since.get_or_insert(now);
        Ok(())
    }

    /// Writes zeros behind `end`. A disk that has no place for them may have some for events.
    fn make_room(&mut self, end: u64, room: Room) {
        let wanted = (end / ROOM_PART).max(ROOM_BYTES_MIN).min(room.bytes_max);
        let to = (end + wanted).min(room.end);
        while self.file_length < to {
            let length = (to - self.file_length).min(ZEROS.len() as u64) as usize;
            if let Err(error) = self.file.write_all_at(&ZEROS[..length], self.file_length) {
                tracing::debug!(%error, "the log grows without room ahead");
                self.room_from = end + room.bytes_max;
                let _before_the_next = self.cut();
                return;
            }
            self.file_length += length as u64;
        }
    }

    /// Whether something may stand behind the last group that is no room.
    pub(crate) fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Cuts off what stands behind the last group, room and all.
    pub(crate) fn cut(&mut self) -> io::Result<()> {
        let cut = self.file.truncate(self.length);
        self.is_dirty = cut.is_err();
        if cut.is_ok() {
            self.file_length = self.length;
        }
        cut
    }
}
