//! How far a run's producer has read its mailbox, kept with the events that say what it did.
//!
//! What a run was asked is at the server, and so is what became of it, once the spool's events are
//! there. Only until then a producer that goes on with the run must know more than the server does.
//! So the place lives exactly as long as the spool, and goes with it.

use std::fs;
use std::io;
use std::path::Path;

use runcast_event::{Cursor, Offset};
use serde::{Deserialize, Serialize};

/// The file in a spool's directory.
const FILE: &str = "mailbox.json";
/// The file while it is being replaced.
const FILE_NEW: &str = "mailbox.json.new";

/// A place in a run's mailbox: what was taken from it, and what of that waits still.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailboxPlace {
    /// Everything up to here was taken.
    pub cursor: Cursor,
    /// What was taken and handed to nobody, in order.
    pub waiting: Vec<Offset>,
}

/// The place as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    cursor: String,
    waiting: Vec<Offset>,
}

impl MailboxPlace {
    /// Whether what stands at `cursor` was dealt with before.
    #[must_use]
    pub fn has(&self, cursor: Cursor) -> bool {
        cursor.epoch == self.cursor.epoch
            && cursor.after <= self.cursor.after
            && !self.waiting.contains(&cursor.after)
    }

    /// Writes the place of the spool in `dir`, whole or not at all.
    pub(crate) fn write(&self, dir: &Path) -> io::Result<()> {
        let written = Written { cursor: self.cursor.to_string(), waiting: self.waiting.clone() };
        let new = dir.join(FILE_NEW);
        fs::write(&new, serde_json::to_vec(&written)?)?;
        fs::rename(new, dir.join(FILE))
    }

    /// The place of the spool in `dir`. One that cannot be read is none: what was taken is then asked
    /// of the server.
    pub(crate) fn read(dir: &Path) -> Option<Self> {
        let written: Written = serde_json::from_slice(&fs::read(dir.join(FILE)).ok()?).ok()?;
        Some(Self { cursor: written.cursor.parse().ok()?, waiting: written.waiting })
    }

    /// Removes the files, before their directory.
    pub(crate) fn remove(dir: &Path) {
        for name in [FILE, FILE_NEW] {
            let _absent_is_fine = fs::remove_file(dir.join(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(cursor: &str, waiting: &[u64]) -> MailboxPlace {
        let waiting = waiting.iter().map(|offset| Offset::new(*offset)).collect();
        MailboxPlace { cursor: cursor.parse().unwrap(), waiting }
    }

    fn at(text: &str) -> Cursor {
        text.parse().unwrap()
    }

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(MailboxPlace::read(dir.path()), None);
        for place in [place("2.42", &[7, 9]), place("43", &[])] {
            place.write(dir.path()).unwrap();
            assert_eq!(MailboxPlace::read(dir.path()), Some(place));
        }
        fs::write(dir.path().join(FILE), "{\"cursor\"").unwrap();
        assert_eq!(MailboxPlace::read(dir.path()), None);
        MailboxPlace::remove(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_waits_is_read_again_and_nothing_else() {
        let place = place("9", &[5, 8]);
        let again: Vec<u64> =
            (1..12).filter(|offset| !place.has(at(&offset.to_string()))).collect();
        assert_eq!(again, [5, 8, 10, 11]);
        assert!(!place.has(at("2.3")), "another history, after the run was made again");
    }
}
