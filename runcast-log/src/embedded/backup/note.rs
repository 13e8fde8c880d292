//! The note in a set: what is in it and when it was made. For people to read; its checksum says that
//! all of it is there.

use std::fmt::Write as _;
use std::path::Path;

use super::BackupError;
use super::copy::read_if_there;

/// Its name in a set.
pub(crate) const NAME: &str = "backup.txt";
const FIRST_LINE: &str = "Runcast backup 1";
const CHECKSUM: &str = "checksum ";
const FILE: &str = "file ";
const LOG: &str = "log ";
const TAKEN: &str = "taken ";

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    /// The log's id, in hex.
    pub(super) log_id: String,
    /// When the backup began.
    pub(super) taken: String,
    pub(super) runs: u64,
    pub(super) events: u64,
    /// The newest group of the log that is in it.
    pub(super) last_group: u64,
    /// Names and lengths in bytes.
    pub(super) files: Vec<(String, u64)>,
}

impl Note {
    pub(super) fn encode(&self) -> String {
        let Self { log_id, taken, runs, events, last_group, .. } = self;
        let mut text = format!(
            "{FIRST_LINE}\n{LOG}{log_id}\n{TAKEN}{taken}\nholds {runs} runs, {events} events, groups \
             up to {last_group}\n"
        );
        for (name, length) in &self.files {
            writeln!(text, "{FILE}{name} {length}").expect("a string takes any text");
        }
        let checksum = crc32c::crc32c(text.as_bytes());
        writeln!(text, "{CHECKSUM}{checksum:08x}").expect("a string takes any text");
        text
    }

    fn decode(text: &str) -> Option<Self> {
        let at = text.rfind(CHECKSUM)?;
        let (content, checksum) = text.split_at(at);
        let checksum = u32::from_str_radix(checksum[CHECKSUM.len()..].trim_end(), 16).ok()?;
        let mut lines = content.lines();
        if crc32c::crc32c(content.as_bytes()) != checksum || lines.next()? != FIRST_LINE {
            return None;
        }
        let log_id = lines.next()?.strip_prefix(LOG)?.to_owned();
        let taken = lines.next()?.strip_prefix(TAKEN)?.to_owned();
        let mut numbers =
            lines.next()?.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty());
        let mut number = || numbers.next()?.parse().ok();
        let (runs, events, last_group) = (number()?, number()?, number()?);
        let file = |line: &str| {
            let (name, length) = line.strip_prefix(FILE)?.split_once(' ')?;
            Some((name.to_owned(), length.parse().ok()?))
        };
        let files = lines.map(file).collect::<Option<_>>()?;
        Some(Self { log_id, taken, runs, events, last_group, files })
    }

    /// The note of a set.
    pub(super) fn read(set: &Path) -> Result<Self, BackupError> {
        let no_backup = |reason: &str| {
            let (path, reason) = (set.to_path_buf(), reason.to_owned());
            BackupError::NoBackup { path, reason }
        };
        let bytes = read_if_there(&set.join(NAME))?;
        let bytes = bytes.ok_or_else(|| no_backup("there is no whole backup in it"))?;
        let note = String::from_utf8(bytes).ok().and_then(|text| Self::decode(&text));
        note.ok_or_else(|| no_backup("its backup.txt is damaged"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_reads_back_and_any_other_byte_is_noticed() {
        let note = Note {
            log_id: "00ff".to_owned(),
            taken: "2026-11-21T10:00:00Z".to_owned(),
            runs: 3,
            events: 99,
            last_group: 7,
            files: vec![("manifest".to_owned(), 120), ("wal-0000000002.log".to_owned(), 64)],
        };
        let text = note.encode();
        assert_eq!(Note::decode(&text), Some(note));
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] ^= 1;
            let read = String::from_utf8(other).ok().and_then(|text| Note::decode(&text));
            // The line end behind the checksum says nothing.
            assert!(read.is_none() || at == text.len() - 1, "byte {at}");
        }
    }
}
