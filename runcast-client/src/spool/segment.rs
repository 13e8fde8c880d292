//! Segment files: one event a line, each behind its checksum.
//!
//! A line is the CRC-32C of the event's JSON as eight hexadecimal digits, a space, the JSON and a
//! line feed. The number of a line is the segment's first number (its file name) plus the lines
//! before it, so that a damaged line costs one event and moves no other.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use memchr::{memchr_iter, memrchr};

/// How a segment's file name begins; its first number follows.
const NAME_PREFIX: &str = "events-";
/// Bytes of a line before its JSON.
const CHECKSUM_BYTES: usize = 9;
/// How much of a segment is read at once while it is counted.
const COUNT_READ_BYTES: usize = 256 * 1024;

/// Appends one event's line. The JSON has no line feed in it.
pub(crate) fn encode(json: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let crc = crc32c::crc32c(json);
    for shift in (0..8).rev() {
        out.push(DIGITS[(crc >> (shift * 4)) as usize & 15]);
    }
    out.push(b' ');
    out.extend_from_slice(json);
    out.push(b'\n');
}

/// How many bytes [`encode`] makes of an event.
pub(crate) fn encoded_bytes(json: &[u8]) -> u64 {
    (json.len() + CHECKSUM_BYTES + 1) as u64
}

/// The JSON of a line (given without its line feed), or none when it is damaged.
pub(crate) fn decode(line: &[u8]) -> Option<&[u8]> {
    let (head, json) = line.split_at_checked(CHECKSUM_BYTES)?;
    let digits = std::str::from_utf8(head.strip_suffix(b" ")?).ok()?;
    let crc = u32::from_str_radix(digits, 16).ok()?;
    (crc == crc32c::crc32c(json)).then_some(json)
}

/// A segment as its spool knows it: only whole lines count.
#[derive(Debug)]
pub(crate) struct Segment {
    /// The number of its first event.
    pub(crate) first: u64,
    /// How many events it has.
    pub(crate) count: u64,
    /// How many bytes they take.
    pub(crate) bytes: u64,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Open while it may be appended to.
    file: Option<File>,
}

impl Segment {
    /// Makes an empty segment whose first event will be `first`.
    pub(crate) fn create(dir: &Path, first: u64) -> io::Result<Self> {
        let path = dir.join(format!("{NAME_PREFIX}{first:020}"));
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        Ok(Self { first, count: 0, bytes: 0, path, file: Some(file) })
    }

    /// Appends whole lines, all or none.
    pub(crate) fn append(&mut self, lines: &[u8], count: u64) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Err(io::Error::other("the segment is closed"));
        };
        if let Err(error) = file.write_all_at(lines, self.bytes) {
            if file.set_len(self.bytes).is_err() {
                // What was written stays behind the last whole line; nothing may follow it.
                self.file = None;
            }
            return Err(error);
        }
        self.bytes += lines.len() as u64;
        self.count += count;
        Ok(())
    }

    /// The number after its last event.
    pub(crate) fn end(&self) -> u64 {
        self.first + self.count
    }

    /// Whether lines can be appended.
    pub(crate) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Takes no more lines.
    pub(crate) fn close(&mut self) {
        self.file = None;
    }

    /// The segments that are in `dir`, in order, as a process that was killed left them. What is
    /// behind a segment's last whole line was never an event.
    pub(crate) fn find_all(dir: &Path) -> io::Result<Vec<Self>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let first = name.strip_prefix(NAME_PREFIX).and_then(|digits| digits.parse().ok());
            if let Some(first) = first {
                let (count, bytes) = count_lines(&path)?;
                segments.push(Self { first, count, bytes, path, file: None });
            }
        }
        segments.sort_by_key(|segment| segment.first);
        for at in 1..segments.len() {
            let next = segments[at].first;
            let before = &mut segments[at - 1];
            before.count = before.count.min(next - before.first);
        }
        Ok(segments)
    }
}

fn count_lines(path: &Path) -> io::Result<(u64, u64)> {
    let file = File::open(path)?;
    let mut buffer = vec![0; COUNT_READ_BYTES];
    let (mut count, mut whole, mut at) = (0, 0, 0);
    loop {
        let read = read_at(&file, &mut buffer, at)?;
        if read == 0 {
            return Ok((count, whole));
        }
        let bytes = &buffer[..read];
        count += memchr_iter(b'\n', bytes).count() as u64;
        if let Some(last) = memrchr(b'\n', bytes) {
            whole = at + last as u64 + 1;
        }
        at += read as u64;
    }
}

/// Where line `index` (from 0) begins.
pub(crate) fn line_start(file: &File, index: u64) -> io::Result<u64> {
    let mut buffer = vec![0; COUNT_READ_BYTES];
    let (mut left, mut at) = (index, 0);
    while left > 0 {
        let read = read_at(file, &mut buffer, at)?;
        if read == 0 {
            let message = "the segment is shorter than it was";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        let mut ends = memchr_iter(b'\n', &buffer[..read]);
        match ends.nth(usize::try_from(left - 1).unwrap_or(usize::MAX)) {
            Some(end) => return Ok(at + end as u64 + 1),
            None => left -= memchr_iter(b'\n', &buffer[..read]).count() as u64,
        }
        at += read as u64;
    }
    Ok(at)
}

/// Reads once at a place, whatever signals arrive.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}
