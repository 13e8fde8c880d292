//! What happened, as a hash of all of it and the newest of it in words.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};

/// So many of the newest lines are kept in words.
const LINES_MAX: usize = 120;
/// FNV-1a, which is the same on every machine and in every version of Rust.
const HASH_START: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_FACTOR: u64 = 0x0000_0100_0000_01b3;

/// Everything that a simulation did and saw, in order.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: VecDeque<String>,
    prints: bool,
}

impl Trace {
    /// An empty one; `prints` shows each line at once.
    pub(crate) fn new(prints: bool) -> Self {
        Self { hash: HASH_START, lines: VecDeque::new(), prints }
    }

    pub(crate) fn add(&mut self, line: fmt::Arguments<'_>) {
        let mut text = match self.lines.len() {
            LINES_MAX.. => self.lines.pop_front().unwrap_or_default(),
            _ => String::new(),
        };
        text.clear();
        text.write_fmt(line).expect("writing to a string works");
        for byte in text.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(HASH_FACTOR);
        }
        if self.prints {
            println!("{text}");
        }
        self.lines.push_back(text);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// The newest lines.
    pub(crate) fn newest(&self) -> String {
        self.lines.iter().fold(String::new(), |text, line| text + "\n  " + line)
    }
}
