//! A bounded number of seeds, and those that once broke a promise; `make sim` lives through thousands.
//!
//! A seed stands for what the simulation makes of it today: when the simulation changes, it is another
//! story. What each of these has found has a test of its own in `runcast-log`, too.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use runcast_sim::live;

/// About so long seeds are tried one after the other, so many at least.
const TIME: Duration = Duration::from_secs(8);
const SEEDS_MIN: u64 = 20;

fn lives(seeds: &[u64]) {
    let directory = tempfile::tempdir().unwrap();
    for seed in seeds {
        live(*seed, directory.path(), false).unwrap_or_else(|broken| panic!("{broken}"));
    }
}

#[test]
fn readers_see_what_the_model_says_whatever_happens_to_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let begin = Instant::now();
    for seed in 0.. {
        if seed >= SEEDS_MIN && begin.elapsed() >= TIME {
            return;
        }
        live(seed, directory.path(), false).unwrap_or_else(|broken| panic!("{broken}"));
    }
}

#[test]
fn a_seed_does_the_same_operation_by_operation() {
    let places = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut all = std::collections::BTreeSet::new();
    for seed in 1_000..1_015 {
        let [one, other] = places.each_ref().map(|place| live(seed, place.path(), false).unwrap());
        assert_eq!(one, other, "seed {seed}");
        all.insert(one.hash);
    }
    assert_eq!(all.len(), 15, "each seed has a story of its own");
}

#[test]
fn a_start_after_a_failed_sync_does_not_believe_the_next_one() {
    lives(&[205]);
}

#[test]
fn what_was_removed_stays_removed_when_the_power_goes() {
    lives(&[12, 14, 22]);
}

#[test]
fn a_turn_to_a_new_file_that_failed_is_finished_before_anything_is_written() {
    lives(&[193]);
}

#[test]
fn a_write_that_failed_does_not_come_back_in_a_file_that_is_followed_by_another() {
    lives(&[533, 1_072, 1_117, 1_171]);
}

#[test]
fn the_name_of_a_new_file_is_durable_before_anything_is_acknowledged_in_it() {
    lives(&[956]);
}

#[test]
fn a_log_that_cannot_note_its_end_is_durable_nevertheless() {
    lives(&[10_968, 11_514]);
}

#[test]
fn a_sync_that_fails_while_the_log_is_closed_counts_as_one_that_failed() {
    lives(&[535]);
}

#[test]
fn states_that_differ_in_what_nobody_has_seen_are_told_apart() {
    lives(&[9_020]);
}

#[test]
fn what_could_not_be_removed_at_once_is_removed_later() {
    lives(&[2_974, 3_132, 14_758, 17_017]);
}
