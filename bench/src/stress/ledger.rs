//! What all readers were due, and whether they were given it.

use std::collections::HashMap;

use anyhow::{Context as _, Result};

use super::Tried;
use super::follower::Follower;
use super::history::{History, Seen};
use super::passage::Told;
use super::view::View;

/// Runs as they were stored in the end, and what of them was checked so far.
pub(super) struct Ledger<'a> {
    histories: &'a [History],
    may_be_stored_merged: bool,
    /// What each view has of each run, made once.
    seen: HashMap<(usize, View), Seen<'a>>,
    /// The passages that were checked.
    pub(super) tried: Tried,
}

impl<'a> Ledger<'a> {
    /// For readers of runs whose deltas may be stored merged, or may not.
    pub(super) fn of(histories: &'a [History], may_be_stored_merged: bool) -> Self {
        let (seen, tried) = (HashMap::new(), Tried::default());
        Self { histories, may_be_stored_merged, seen, tried }
    }

    /// Holds all passages of a reader against what it should have been given.
    pub(super) fn check(&mut self, follower: &Follower) -> Result<()> {
        for passage in &follower.passages {
            let of = (passage.run, follower.view);
            let (histories, may_be_merged) = (self.histories, self.may_be_stored_merged);
            let seen = || Seen::of(&histories[of.0], of.1, may_be_merged);
            passage.check(self.seen.entry(of).or_insert_with(seen)).with_context(|| {
                let Follower { name, .. } = follower;
                format!("{name}, run {}, a connection from {}", passage.run, passage.after)
            })?;
            self.tried.passages += 1;
            for told in &passage.told {
                if let Told::Event { merged, .. } = told {
                    self.tried.deliveries += 1;
                    self.tried.merged += if *merged > 1 { *merged } else { 0 };
                }
            }
        }
        Ok(())
    }
}
