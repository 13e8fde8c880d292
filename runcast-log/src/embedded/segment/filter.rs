//! Tells that a name is not in a segment, nearly always, without looking for it.
//!
//! Made when a segment is opened. Each name sets a few bits of one word, so that asking reads one
//! place of the memory.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// Bits for each name: about one in forty other names seems to be there.
const BITS_A_NAME: usize = 12;
/// Bits that a name sets.
const BITS_SET: u32 = 4;
const BITS_A_WORD: u32 = u64::BITS;

/// A name's hash, the same for all filters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NameHash(u64);

impl NameHash {
    pub(crate) fn of(name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        Self(hasher.finish())
    }

    fn bits(self) -> u64 {
        let step = BITS_A_WORD.trailing_zeros();
        (0..BITS_SET).fold(0, |bits, at| bits | 1 << ((self.0 >> (at * step)) % 64))
    }
}

/// The names of a segment, roughly.
#[derive(Debug)]
pub(crate) struct Filter(Box<[u64]>);

impl Filter {
    /// For so many names.
    pub(crate) fn new(names: usize) -> Self {
        let words = (names * BITS_A_NAME).div_ceil(BITS_A_WORD as usize).max(1);
        Self(vec![0; words].into())
    }

    fn place(&self, hash: NameHash) -> usize {
        // The upper half: the bits come from the lower one.
        ((hash.0 >> 32) as usize) % self.0.len()
    }

    pub(crate) fn add(&mut self, hash: NameHash) {
        let place = self.place(hash);
        self.0[place] |= hash.bits();
    }

    pub(crate) fn may_have(&self, hash: NameHash) -> bool {
        let bits = hash.bits();
        self.0[self.place(hash)] & bits == bits
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.len() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_there_may_be_there_and_few_others() {
        let name = |at: u32| NameHash::of(&format!("run-{at}"));
        let mut filter = Filter::new(10_000);
        (0..10_000).for_each(|at| filter.add(name(at)));
        assert!((0..10_000).all(|at| filter.may_have(name(at))));
        let others = (10_000..20_000).filter(|at| filter.may_have(name(*at))).count();
        assert!(others < 800, "{others} of 10,000");
        assert!(!Filter::new(0).may_have(name(1)));
    }
}
