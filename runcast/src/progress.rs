//! How far something long has come, on stderr, where a person sees it.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// The line is written again after this long.
const EVERY: Duration = Duration::from_millis(200);
const MIB: u64 = 1024 * 1024;

/// A line on the terminal; without one, nothing.
pub(crate) struct Progress {
    verb: &'static str,
    is_shown: bool,
    has_line: bool,
    written: Instant,
    done: u64,
}

impl Progress {
    pub(crate) fn new(verb: &'static str) -> Self {
        let is_shown = io::stderr().is_terminal();
        Self { verb, is_shown, has_line: false, written: Instant::now(), done: 0 }
    }

    /// So many bytes more are done.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        self.show(self.done, None);
    }

    /// So many bytes of so many are done.
    pub(crate) fn at(&mut self, done: u64, all: u64) {
        self.show(done, Some(all));
    }

    fn show(&mut self, done: u64, all: Option<u64>) {
        if !self.is_shown || self.written.elapsed() < EVERY {
            return;
        }
        self.written = Instant::now();
        self.has_line = true;
        let of = all.map_or(String::new(), |all| format!(" of {}", all / MIB));
        // With stderr closed there is nobody to tell.
        drop(write!(io::stderr(), "\r\x1b[K{} {}{of} MiB", self.verb, done / MIB));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.has_line {
            drop(write!(io::stderr(), "\r\x1b[K"));
        }
    }
}
