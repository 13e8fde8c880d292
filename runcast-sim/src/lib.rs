//! The embedded log on a simulated disk and clock, with a model beside it.
//!
//! Owns the proof that nothing acknowledged is lost: random work on the log, while processes are
//! killed, the power goes, the disk fills up, fails and rots; and after each step readers must see
//! what the model says. Every choice comes from one seed: the same seed does the same, operation by
//! operation, and its trace has the same hash.
//!
//! **Why the disk is our own** and not the simulated file system of `turmoil` (0.7.2, feature
//! `unstable-fs`), which was tried: there a file handle is a path. The log makes a file under a name
//! that says that it is not finished, renames it and goes on writing through the same handle; in
//! turmoil those writes go to the old name, and a sync of the handle fails. A file that is shortened
//! and grows again shows its old bytes where there are zeros on any real disk, which is just what
//! recovery must tell apart. And of what was not synced a crash keeps nothing, or the front of each
//! write: never a later write without an earlier one, nor a name without the one before. Other
//! threads than the host's own take chances that no seed repeats. Its host and scheduler would serve
//! for a network, which the log has not.
//!
//! **Threads.** The log's writer and upkeep are stepped by the simulation
//! ([`runcast_log::WritingBy::Stepped`], [`runcast_log::UpkeepBy::Stepped`]); one of them can come in
//! between at any operation that another does on the disk. What this does not try: two threads within
//! the same piece of code between two operations, the waiting of threads for each other, and the real
//! system's calls. Those are left to the tests with threads, and to `make stress` with a real disk.

mod asked;
mod content;
mod disk;
mod joined;
mod look;
mod machine;
mod model;
mod observer;
mod restart;
mod story;
mod trace;
mod wait;
mod work;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fastrand::Rng;

use disk::SimDisk;
use trace::Trace;
use work::Work;
use world::World;

/// How many things happen in one simulation, at least and at most.
const STEPS: std::ops::Range<usize> = 30..250;

/// What a simulation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lived {
    /// A hash of everything that it did and saw.
    pub hash: u64,
    /// Operations on the disk.
    pub operations: u64,
}

/// A simulation in which a promise was broken.
#[derive(Debug, Clone)]
pub struct Broken {
    /// What repeats it.
    pub seed: u64,
    /// What is wrong.
    pub why: String,
    /// What happened before.
    pub newest: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, why, newest } = self;
        write!(f, "seed {seed}: {why}\nagain with `make sim SEED={seed}`; before that:{newest}")
    }
}

impl std::error::Error for Broken {}

/// Lives through what one seed says. `directory` is a real one, for the log's lock; `prints` shows
/// everything that happens.
///
/// # Errors
/// When a promise was broken.
pub fn live(seed: u64, directory: &Path, prints: bool) -> Result<Lived, Box<Broken>> {
    // The log hands reads that would block to the threads of a runtime.
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime without sockets and timers can be made");
    let _entered = runtime.enter();
    let mut rng = Rng::with_seed(seed);
    let disk = SimDisk::new(rng.fork(), Trace::new(prints));
    let steps = rng.usize(STEPS);
    let world = World::new(disk.clone(), directory.to_owned(), Work::new(rng));
    let lived = catch_unwind(AssertUnwindSafe(|| world.live(steps)));
    let failure = world.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    let why = match (lived, failure) {
        (Ok(()), None) => {
            let hash = disk.with_trace(Trace::hash);
            return Ok(Lived { hash, operations: disk.operations() });
        }
        (_, Some(why)) => why,
        (Err(panic), None) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("a panic: {}", text.unwrap_or("without words"))
        }
    };
    Err(Box::new(Broken { seed, why, newest: disk.with_trace(Trace::newest) }))
}
