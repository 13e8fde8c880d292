//! What is in one file: as the system shows it, and as the medium has it.

use fastrand::Rng;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What the medium has of what was not synced when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Nothing,
    All,
    /// All up to some moment.
    Until {
        left: u32,
    },
    /// Any part.
    Some {
        of_ten: u8,
    },
}

impl Kept {
    pub(crate) fn choose(rng: &mut Rng) -> Self {
        match rng.u8(..8) {
            0 => Self::Nothing,
            1 => Self::All,
            2 | 3 => Self::Until { left: rng.u32(..12) },
            _ => Self::Some { of_ten: rng.u8(1..10) },
        }
    }

    pub(crate) fn is_kept(&mut self, rng: &mut Rng) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Until { left } => {
                let is_kept = *left > 0;
                *left = left.saturating_sub(1);
                is_kept
            }
            Self::Some { of_ten } => rng.u8(..10) < *of_ten,
        }
    }
}

#[derive(Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// A file's bytes.
#[derive(Debug, Default)]
pub(crate) struct Content {
    durable: Vec<u8>,
    now: Vec<u8>,
    unsynced: Vec<Change>,
    /// Something that is shown will never be on the medium: its sync failed.
    is_forgotten: bool,
}

impl Content {
    pub(crate) fn length(&self) -> u64 {
        self.now.len() as u64
    }

    /// False when the file is too short.
    pub(crate) fn read(&self, bytes: &mut [u8], position: usize) -> bool {
        let end = position.saturating_add(bytes.len());
        let Some(there) = self.now.get(position..end) else { return false };
        bytes.copy_from_slice(there);
        true
    }

    pub(crate) fn write(&mut self, position: usize, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.change(Change::Write(position, bytes.to_vec()));
        }
    }

    pub(crate) fn truncate(&mut self, length: usize) {
        self.change(Change::Length(length));
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.now, &change);
        self.unsynced.push(change);
    }

    pub(crate) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            apply(&mut self.durable, &change);
        }
    }

    /// A sync that failed. What was not synced may be tried again by the next one, or is not on the
    /// medium, or only a part of it, while the system shows it until it needs the memory.
    pub(crate) fn fail_to_sync(&mut self, keeps: bool, rng: &mut Rng) {
        if keeps {
            return;
        }
        let mut kept = Kept::choose(rng);
        let changes = std::mem::take(&mut self.unsynced);
        keep(&mut self.durable, changes, &mut kept, rng);
        self.is_forgotten = true;
    }

    /// What is on the medium or still may come there is all that is left.
    pub(crate) fn evict(&mut self) {
        if self.is_forgotten {
            self.now.clone_from(&self.durable);
            for change in &self.unsynced {
                apply(&mut self.now, change);
            }
            self.is_forgotten = false;
        }
    }

    pub(crate) fn lose_power(&mut self, kept: &mut Kept, rng: &mut Rng) {
        let changes = std::mem::take(&mut self.unsynced);
        if !changes.is_empty() || self.is_forgotten {
            keep(&mut self.durable, changes, kept, rng);
            self.now.clone_from(&self.durable);
            self.is_forgotten = false;
        }
    }

    pub(crate) fn has(&self, bytes: &[u8]) -> bool {
        let has = |content: &[u8]| content.windows(bytes.len()).any(|window| window == bytes);
        has(&self.now) || has(&self.durable)
    }

    /// Changes one bit of one byte that is on the medium. Where, what it was and what it is.
    pub(crate) fn rot(&mut self, rng: &mut Rng) -> Option<(usize, u8, u8)> {
        if self.durable.is_empty() || self.durable != self.now {
            return None;
        }
        let position = rng.usize(..self.durable.len());
        let before = self.durable[position];
        let after = before ^ (1 << rng.u8(..8));
        (self.durable[position], self.now[position]) = (after, after);
        Some((position, before, after))
    }

    /// Gives a byte another value where it has this one.
    pub(crate) fn restore(&mut self, position: usize, from: u8, to: u8) {
        for content in [&mut self.durable, &mut self.now] {
            if let Some(byte) = content.get_mut(position).filter(|byte| **byte == from) {
                *byte = to;
            }
        }
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, new) => {
            let end = at + new.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*at..end].copy_from_slice(new);
        }
        Change::Length(length) => bytes.resize(*length, 0),
    }
}

/// Brings a part of some changes to the medium.
fn keep(durable: &mut Vec<u8>, changes: Vec<Change>, kept: &mut Kept, rng: &mut Rng) {
    /// One of so many sectors that are lost was being written, and is of no use, except where it was
    /// written as it had been.
    const TORN: u8 = 16;
    for change in changes {
        let Change::Write(at, bytes) = change else {
            if kept.is_kept(rng) {
                apply(durable, &change);
            }
            continue;
        };
        let mut start = 0;
        while start < bytes.len() {
            let end = ((at + start) / SECTOR_BYTES + 1) * SECTOR_BYTES - at;
            let end = end.min(bytes.len());
            let sector = &bytes[start..end];
            if kept.is_kept(rng) {
                apply(durable, &Change::Write(at + start, sector.to_vec()));
            } else if *kept != Kept::Nothing && rng.u8(..TORN) == 0 {
                let before = durable.get(at + start..at + end);
                if before != Some(sector) {
                    let torn = sector.iter().map(|_| rng.u8(..)).collect();
                    apply(durable, &Change::Write(at + start, torn));
                }
            }
            start = end;
        }
    }
}
