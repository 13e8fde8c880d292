//! What all threads of a round share: where the servers are, and how far the round is.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

/// How long a round may take in all. Longer means that somebody waits for what never comes.
const ROUND_MAX: Duration = Duration::from_secs(180);

/// A part of the round gives up because another failed.
#[derive(Debug)]
pub(super) struct GaveUp;

impl std::fmt::Display for GaveUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("another part of the round failed")
    }
}

impl std::error::Error for GaveUp {}

/// A round, as its threads see it.
#[derive(Debug)]
pub(super) struct World {
    /// What the round's chances hang on.
    pub(super) seed: u64,
    /// The names of its runs.
    pub(super) runs: Vec<String>,
    begin: Instant,
    /// Where each of the servers is, if it is anywhere.
    addresses: Mutex<Vec<Option<SocketAddrV4>>>,
    /// How often somebody asked for one of them.
    asked: AtomicUsize,
    moved: Condvar,
    is_enough: AtomicBool,
    has_ended: AtomicBool,
    has_failed: AtomicBool,
}

impl World {
    pub(super) fn new(seed: u64, runs: Vec<String>) -> Self {
        Self {
            seed,
            runs,
            begin: Instant::now(),
            addresses: Mutex::default(),
            asked: AtomicUsize::new(0),
            moved: Condvar::new(),
            is_enough: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        }
    }

    /// Says where one of the servers is, or that it is nowhere.
    pub(super) fn set_address(&self, server: usize, address: Option<SocketAddrV4>) {
        let mut addresses = self.lock();
        if addresses.len() <= server {
            addresses.resize(server + 1, None);
        }
        addresses[server] = address;
        drop(addresses);
        self.moved.notify_all();
    }

    /// Waits until there is a server, and says where: if there are several, one after the other.
    pub(super) fn address(&self) -> Result<SocketAddrV4> {
        let mut addresses = self.lock();
        loop {
            self.check()?;
            let there: Vec<_> = addresses.iter().copied().flatten().collect();
            if !there.is_empty() {
                return Ok(there[self.asked.fetch_add(1, Ordering::Relaxed) % there.len()]);
            }
            let waited = self.moved.wait_timeout(addresses, Duration::from_millis(200));
            addresses = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether there is a server.
    pub(super) fn is_there(&self, address: SocketAddrV4) -> bool {
        self.lock().contains(&Some(address))
    }

    /// An error when the round cannot come to a good end any more.
    pub(super) fn check(&self) -> Result<()> {
        if self.has_failed.load(Ordering::Acquire) {
            return Err(GaveUp.into());
        }
        if self.begin.elapsed() > ROUND_MAX {
            bail!("the round did not end within {ROUND_MAX:?}");
        }
        Ok(())
    }

    /// Lets all threads give up.
    pub(super) fn fail(&self) {
        self.has_failed.store(true, Ordering::Release);
        self.moved.notify_all();
    }

    /// Asks producers to stop.
    pub(super) fn enough(&self) {
        self.is_enough.store(true, Ordering::Release);
    }

    pub(super) fn is_enough(&self) -> bool {
        self.is_enough.load(Ordering::Acquire)
    }

    /// Says that all runs have ended.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Chances of one part of the round, the same for the same seed.
    pub(super) fn chances(&self, part: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(mix(&[self.seed, part]))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<SocketAddrV4>>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of several errors the one that says most: that others gave up for it says nothing.
pub(super) fn cause(errors: impl Iterator<Item = anyhow::Error>) -> anyhow::Error {
    let gave_up = |error: &anyhow::Error| error.downcast_ref::<GaveUp>().is_some();
    let (others, causes): (Vec<_>, Vec<_>) = errors.partition(gave_up);
    let first = causes.into_iter().chain(others).next();
    first.unwrap_or_else(|| anyhow!("no part of it failed"))
}

/// Waits for all threads; if any failed, says why.
pub(super) fn join<T>(threads: Vec<JoinHandle<Result<T>>>) -> Result<Vec<T>> {
    let (mut done, mut errors) = (Vec::new(), Vec::new());
    for thread in threads {
        match thread.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked"))) {
            Ok(thing) => done.push(thing),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(done) } else { Err(cause(errors.into_iter())) }
}

/// One number from several, each of which changes all of it.
pub(super) fn mix(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0x9e37_79b9_7f4a_7c15, |mixed, number| {
        let mixed = (mixed ^ number).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 32)
    })
}
