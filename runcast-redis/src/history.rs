//! In which history of Redis a slot is: a number that goes up whenever another server process answers for
//! it, since what that one has may be older than what was acknowledged.
//!
//! A Redis that is no Cluster has one history. A Cluster has one for each slot, in the slot: it goes where
//! the slot goes, and what becomes of one primary is nothing to the slots of others.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::SystemTime;

use redis::aio::{ConnectionLike as _, MultiplexedConnection};
use redis::{Cmd, Value};

use crate::error::CallError;
use crate::keys::Keys;
use crate::script::Scripts;
use crate::slots::{self, Slot};

/// Seconds from 1970 to 2020.
const SECONDS_TO_2020: u64 = 1_577_836_800;
/// Slots that are asked for in one go.
const STEP: usize = 1_024;

/// The histories that are known: 0 is not known.
pub(crate) struct Histories {
    numbers: Box<[AtomicU32]>,
    /// One of them goes on from another that was known before.
    is_another: AtomicBool,
}

impl Histories {
    pub(crate) fn new(is_cluster: bool) -> Self {
        let count = if is_cluster { slots::COUNT } else { 1 };
        let numbers = (0..count).map(|_| AtomicU32::new(0)).collect();
        Self { numbers, is_another: AtomicBool::new(false) }
    }

    fn is_cluster(&self) -> bool {
        self.numbers.len() > 1
    }

    fn at(&self, slot: Slot) -> &AtomicU32 {
        &self.numbers[if self.is_cluster() { slot.index() } else { 0 }]
    }

    pub(crate) fn get(&self, slot: Slot) -> u32 {
        self.at(slot).load(Ordering::SeqCst)
    }

    /// Whether what answers here may lack what another server had.
    pub(crate) fn is_another(&self) -> bool {
        self.is_another.load(Ordering::SeqCst)
    }

    /// It has to be asked for again: the slot was elsewhere meanwhile.
    pub(crate) fn forget(&self, slot: Slot) {
        self.at(slot).store(0, Ordering::SeqCst);
    }

    fn raise(&self, slot: Slot, number: u32) -> u32 {
        self.at(slot).fetch_max(number, Ordering::SeqCst)
    }
}

/// For each slot a number that, in braces, is in it.
fn words() -> &'static [u32] {
    static WORDS: OnceLock<Vec<u32>> = OnceLock::new();
    WORDS.get_or_init(|| {
        let mut words = vec![u32::MAX; slots::COUNT];
        let mut missing = words.len();
        for word in 0.. {
            let place = &mut words[Slot::of(&word.to_string()).index()];
            if *place == u32::MAX {
                *place = word;
                missing -= 1;
            }
            if missing == 0 {
                break;
            }
        }
        words
    })
}

/// A word that, in braces, is in a slot.
pub(crate) fn word(slot: Slot) -> u32 {
    words()[slot.index()]
}

/// Asks for histories.
pub(crate) struct Asking<'a> {
    pub(crate) scripts: &'a Scripts,
    pub(crate) keys: &'a Keys,
    /// Which process is asked.
    pub(crate) run_id: &'a str,
    /// The newest histories that this node has seen.
    pub(crate) seen: &'a Histories,
}

impl Asking<'_> {
    /// The hash that has a slot's history.
    pub(crate) fn key(&self, slot: Slot) -> String {
        match self.seen.is_cluster() {
            true => self.keys.history_of_slot(word(slot)),
            false => self.keys.history(),
        }
    }

    /// The question about a slot.
    pub(crate) fn cmd(&self, slot: Slot, is_in_full: bool) -> Cmd {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = now.as_secs().saturating_sub(SECONDS_TO_2020);
        let (script, key) = (&self.scripts.history, [self.key(slot)]);
        let mut cmd = if is_in_full { script.call_in_full(&key) } else { script.call(&key) };
        cmd.arg(self.run_id).arg(now).arg(self.seen.get(slot));
        cmd
    }

    /// Takes the answer. Notes in `known` whether another server answered before.
    pub(crate) fn take(&self, slot: Slot, answer: Value, known: &Histories) -> Option<u32> {
        let number = redis::from_redis_value::<u32>(answer).ok().filter(|number| *number > 0)?;
        let before = self.seen.raise(slot, number);
        if before != 0 && number > before && !self.seen.is_cluster() {
            tracing::warn!(
                history = number,
                "another Redis process answers: it may lack what the last one had"
            );
        }
        known.raise(slot, number);
        known.is_another.fetch_or(before != 0 && number > before, Ordering::SeqCst);
        Some(number)
    }

    /// Asks about these slots. What is on its way to another server stays unknown.
    pub(crate) async fn all(
        &self,
        connection: &mut MultiplexedConnection,
        slots: &[Slot],
        known: &Histories,
    ) -> Result<(), CallError> {
        for (step, some) in slots.chunks(STEP).enumerate() {
            let mut pipeline = redis::pipe();
            for (at, slot) in some.iter().enumerate() {
                // The first brings the script.
                pipeline.add_command(self.cmd(*slot, step == 0 && at == 0));
            }
            let answers = connection.req_packed_commands(&pipeline, 0, pipeline.len()).await?;
            for (slot, answer) in some.iter().zip(answers) {
                match answer.extract_error().map_err(CallError::from) {
                    Ok(answer) => drop(self.take(*slot, answer, known)),
                    Err(CallError::Elsewhere(_) | CallError::Ask { .. } | CallError::NoScript) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_word_that_is_in_it() {
        assert!(
            (0..slots::COUNT as u16)
                .map(Slot::new)
                .all(|slot| { Slot::of(&word(slot).to_string()) == slot })
        );
    }

    #[test]
    fn a_redis_that_is_no_cluster_has_one_history() {
        let histories = Histories::new(false);
        histories.raise(Slot::new(7), 3);
        assert_eq!(histories.get(Slot::new(9)), 3);
        let histories = Histories::new(true);
        histories.raise(Slot::new(7), 3);
        assert_eq!(histories.get(Slot::new(9)), 0);
    }
}
