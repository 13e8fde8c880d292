//! Hostile bytes for whatever reads bytes.
//!
//! A target is an ordinary test in a module named `fuzz`, beside the code that it tries, so that it
//! reaches what is private. It takes a corpus of inputs that are right and words that matter in
//! them; the inputs are cut, doubled, mixed and overwritten, and what the target panics on is made
//! small and printed. `make test` tries each target briefly; `make fuzz` as long as one likes, with
//! the checks of a debug build on.
//!
//! Not guided by coverage, which would need a compiler with instrumentation: the corpus and the
//! words have to know the format.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, TestRunner};

/// How many inputs a target is tried with in an ordinary test run.
const CASES_SHORT: u32 = 2_000;
/// How many inputs are tried between two looks at the clock.
const CASES_A_LOOK: u32 = 20_000;
/// How many seconds each target is tried, instead of [`CASES_SHORT`].
const SECONDS: &str = "FUZZ_SECONDS";
/// Changes to one input, at most.
const CHANGES_MAX: usize = 8;

/// Tries a target with inputs made of a corpus and words.
///
/// # Panics
/// When the target panics, with the smallest input found that makes it.
pub fn fuzz(corpus: &[&[u8]], words: &[&[u8]], target: impl Fn(&[u8])) {
    let seconds = std::env::var(SECONDS).ok();
    let seconds: Option<u64> =
        seconds.map(|text| text.parse().expect("FUZZ_SECONDS is a number of seconds"));
    let inputs = inputs(corpus, words);
    let begin = Instant::now();
    loop {
        let config = Config {
            cases: if seconds.is_some() { CASES_A_LOOK } else { CASES_SHORT },
            failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
            ..Config::default()
        };
        let tried = TestRunner::new(config).run(&inputs, |input| {
            target(&input);
            Ok(())
        });
        if let Err(proptest::test_runner::TestError::Fail(reason, input)) = &tried {
            panic!("{reason}, with b\"{}\"", input.escape_ascii());
        }
        tried.expect("every input can be made");
        if seconds.is_none_or(|seconds| begin.elapsed() >= Duration::from_secs(seconds)) {
            return;
        }
    }
}

/// A change to an input.
#[derive(Debug, Clone)]
enum Change {
    Overwrite(u8),
    Insert(Vec<u8>),
    Remove(usize),
    Repeat(usize),
    CutOff,
}

fn inputs(corpus: &[&[u8]], words: &[&[u8]]) -> impl Strategy<Value = Vec<u8>> + use<> {
    let owned = |texts: &[&[u8]]| texts.iter().map(|text| text.to_vec()).collect::<Vec<_>>();
    let begin = prop_oneof![
        9 => prop::sample::select(owned(corpus)),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ];
    let mut inserted = owned(words);
    inserted.extend(owned(corpus));
    let change = prop_oneof![
        2 => any::<u8>().prop_map(Change::Overwrite),
        1 => any::<u8>().prop_map(|byte| Change::Insert(vec![byte])),
        4 => prop::sample::select(inserted).prop_map(Change::Insert),
        2 => (1_usize..20).prop_map(Change::Remove),
        1 => (1_usize..60).prop_map(Change::Repeat),
        1 => Just(Change::CutOff),
    ];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), change), 0..CHANGES_MAX);
    (begin, changes).prop_map(|(mut input, changes)| {
        for (at, change) in changes {
            let at = at.index(input.len().max(1));
            apply(&mut input, at, change);
        }
        input
    })
}

fn apply(input: &mut Vec<u8>, at: usize, change: Change) {
    let at = at.min(input.len());
    let end = |length: usize| (at + length).min(input.len());
    match change {
        Change::Overwrite(byte) => {
            if let Some(place) = input.get_mut(at) {
                *place = byte;
            }
        }
        Change::Insert(bytes) => drop(input.splice(at..at, bytes)),
        Change::Remove(length) => drop(input.drain(at..end(length))),
        Change::Repeat(length) => {
            let again = input[at..end(length)].to_vec();
            drop(input.splice(at..at, again));
        }
        Change::CutOff => input.truncate(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_fails_is_told_with_a_small_input() {
        let tried = std::panic::catch_unwind(|| {
            fuzz(&[b"harmless words"], &[b"EVIL"], |input| {
                assert!(!input.windows(4).any(|part| part == b"EVIL"));
            });
        });
        let told = tried.unwrap_err();
        let told = told.downcast_ref::<String>().unwrap();
        assert!(told.contains("EVIL") && told.len() < 400, "{told}");
    }
}
