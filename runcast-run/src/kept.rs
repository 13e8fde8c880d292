//! Lists with a limit: what goes when they are full, and how much has gone.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json::Json;
use crate::limits;

/// The room for texts and values that a state has left.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Room {
    taken_bytes: usize,
}

impl Room {
    /// Bytes that are free.
    pub(crate) fn left(&self) -> usize {
        limits::KEPT_BYTES_MAX.saturating_sub(self.taken_bytes)
    }

    pub(crate) fn take(&mut self, bytes: usize) {
        self.taken_bytes += bytes;
    }

    pub(crate) fn give_back(&mut self, bytes: usize) {
        self.taken_bytes = self.taken_bytes.saturating_sub(bytes);
    }

    /// Keeps as much of a value as there is room for, in place of what was kept. Without a value
    /// nothing changes. What is left out is added to `omitted_bytes`.
    pub(crate) fn keep(
        &mut self,
        slot: &mut Option<Json>,
        value: Option<&RawValue>,
        omitted_bytes: &mut u64,
    ) {
        let Some(value) = value else { return };
        self.give_back(bytes_of(slot));
        let (kept, omitted) = Json::fitting(value, self.left().min(limits::VALUE_BYTES_MAX));
        *slot = kept;
        *omitted_bytes += omitted;
        self.take(bytes_of(slot));
    }
}

/// Bytes that a value takes.
pub(crate) fn bytes_of(slot: &Option<Json>) -> usize {
    slot.as_ref().map_or(0, |json| json.get().len())
}

/// One of many that a state keeps.
pub(crate) trait Item {
    /// Whether nothing more is to come of it.
    fn is_over(&self) -> bool;
    /// Bytes of texts and values that it holds.
    fn bytes(&self) -> usize;
}

/// The newest of a kind, in order, and how many are not kept any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept<T> {
    items: VecDeque<T>,
    omitted: u64,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), omitted: 0 }
    }
}

impl<T: Item> Kept<T> {
    /// How many are left out.
    pub(crate) fn omitted(&self) -> u64 {
        self.omitted
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.items.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut T> {
        self.items.iter_mut()
    }

    /// The newest that is meant.
    pub(crate) fn find(&self, is_meant: impl Fn(&T) -> bool) -> Option<&T> {
        self.items.iter().rev().find(|item| is_meant(item))
    }

    /// The newest that is meant, to be changed.
    pub(crate) fn find_mut(&mut self, is_meant: impl Fn(&T) -> bool) -> Option<&mut T> {
        self.items.iter_mut().rev().find(|item| is_meant(item))
    }

    /// The newest that is meant, or a new one, for which the oldest that is over makes room, or
    /// the oldest of all.
    pub(crate) fn find_or_add(
        &mut self,
        max: usize,
        room: &mut Room,
        is_meant: impl Fn(&T) -> bool,
        new: impl FnOnce() -> T,
    ) -> &mut T {
        let found = self.items.iter().rposition(is_meant);
        let at = found.unwrap_or_else(|| {
            if self.items.len() >= max {
                let oldest = self.items.iter().position(Item::is_over).unwrap_or(0);
                self.leave_out(oldest, room);
            }
            self.push(new());
            self.items.len() - 1
        });
        &mut self.items[at]
    }

    /// Adds one, for which the oldest that is over makes room; none that is not over goes, and so
    /// it may be the new one that is left out.
    pub(crate) fn add(&mut self, max: usize, room: &mut Room, item: T) {
        if self.items.len() >= max {
            match self.items.iter().position(Item::is_over) {
                Some(oldest) => self.leave_out(oldest, room),
                None => {
                    self.omitted += 1;
                    return;
                }
            }
        }
        self.push(item);
    }

    fn leave_out(&mut self, at: usize, room: &mut Room) {
        if let Some(gone) = self.items.remove(at) {
            room.give_back(gone.bytes());
            self.omitted += 1;
        }
    }

    /// Grows by a quarter, not to the double: most lists are short, and stay so.
    fn push(&mut self, item: T) {
        if self.items.len() == self.items.capacity() {
            self.items.reserve_exact(1 + self.items.len() / 4);
        }
        self.items.push_back(item);
    }
}
