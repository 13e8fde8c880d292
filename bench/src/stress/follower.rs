//! A reader: connects, reads or does not, leaves when it likes, comes back where it likes, until it
//! has read its runs to their ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fastrand::Rng;

use super::Tried;
use super::history::History;
use super::ledger::Ledger;
use super::passage::{Passage, Told};
use super::transport::{Ask, Transport};
use super::view::View;
use super::world::World;
use crate::wire::download::Came;

/// How little a socket takes in some passages, in bytes: the server's writes soon wait.
const SMALL_ROOM_BYTES: usize = 2_048;
/// The longest pause without reading, in milliseconds.
const STALL_MAX_MS: u64 = 900;
/// How often a passage stalls, at most.
const STALLS_MAX: usize = 4;
/// After so many reads it stalls, about.
const STALL_AFTER: u8 = 8;
/// The most that is read of a passage which is left before its end, in bytes.
const LEFT_AFTER_MAX_BYTES: usize = 150_000;
/// After so many passages since the runs ended, a reader leaves no more.
const PATIENT_AFTER: usize = 4;
/// How long it rests before it reads runs again that have ended, in milliseconds.
const REST_MS: std::ops::Range<u64> = 1..100;
/// The most runs that one reader reads over one connection.
const RUNS_MAX: usize = 3;

/// One reader.
pub(super) struct Follower {
    pub(super) name: String,
    pub(super) view: View,
    transport: &'static dyn Transport,
    world: Arc<World>,
    rng: Rng,
    runs: Vec<Reading>,
    /// Whether it reads what has ended and was read before.
    rereads: bool,
    pub(super) passages: Vec<Passage>,
}

/// How far it is with a run.
struct Reading {
    run: usize,
    cursor: u64,
    has_ended: bool,
}

/// How one passage goes.
struct Manners {
    /// Leaves after so many reads of at most so many bytes.
    bites: Option<usize>,
    bite_bytes: usize,
    /// How often it stops reading for a while.
    stalls: usize,
    room: Option<usize>,
}

impl Follower {
    /// So many readers, over each transport in turn.
    pub(super) fn several(
        world: &Arc<World>,
        transports: &[&'static dyn Transport],
        count: usize,
    ) -> impl Iterator<Item = Self> {
        let numbered = (0..count).zip(transports.iter().cycle());
        numbered.map(|(number, transport)| Self::new(Arc::clone(world), *transport, number))
    }

    fn new(world: Arc<World>, transport: &'static dyn Transport, number: usize) -> Self {
        let mut rng = world.chances(1_000 + number as u64);
        let view = View::any(&mut rng);
        let count = rng.usize(1..=transport.runs_max().min(world.runs.len()).min(RUNS_MAX));
        let mut runs: Vec<usize> = (0..world.runs.len()).collect();
        rng.shuffle(&mut runs);
        let reading = |run| Reading { run, cursor: 0, has_ended: false };
        let runs = runs.into_iter().take(count).map(reading).collect();
        let name = format!("reader {number} over {} of{}", transport.name(), view.query());
        let (rereads, passages) = (false, Vec::new());
        Self { name, view, transport, world, rng, runs, rereads, passages }
    }

    /// Reads its runs to their ends, and again while they grow.
    pub(super) fn follow(mut self) -> Result<Self> {
        let read = self.read_all();
        let place = || format!("{}, behind {:?}", self.name, self.cursors());
        if read.is_err() {
            self.world.fail();
        }
        read.with_context(place)?;
        Ok(self)
    }

    /// Reads its runs, which have ended and are `histories`, again and again from anywhere until it is
    /// enough, and then once more. Each time is held against them at once, and forgotten.
    pub(super) fn follow_again(mut self, histories: &[History]) -> Result<Tried> {
        let mut ledger = Ledger::of(histories, true);
        self.rereads = true;
        loop {
            let is_last = self.world.is_enough();
            for reading in &mut self.runs {
                let last = histories[reading.run].events.len() as u64;
                let cursor = if self.rng.u8(0..4) == 0 { 0 } else { self.rng.u64(0..=last) };
                *reading = Reading { cursor, has_ended: false, ..*reading };
            }
            self = self.follow()?;
            if let Err(error) = ledger.check(&self) {
                self.world.fail();
                return Err(error);
            }
            if is_last {
                return Ok(ledger.tried);
            }
            self.passages.clear();
            std::thread::sleep(Duration::from_millis(self.rng.u64(REST_MS)));
        }
    }

    /// Whether everybody waits only for it and others to come to an end.
    fn is_last_reading(&self) -> bool {
        self.rereads && self.world.is_enough()
    }

    fn cursors(&self) -> Vec<u64> {
        self.runs.iter().map(|reading| reading.cursor).collect()
    }

    fn read_all(&mut self) -> Result<()> {
        let mut since_the_end = 0;
        loop {
            let has_ended = self.world.has_ended();
            since_the_end += usize::from(has_ended);
            let is_patient = since_the_end > PATIENT_AFTER || self.is_last_reading();
            let manners = Manners::any(&mut self.rng, is_patient);
            self.passage(&manners, has_ended)?;
            if self.runs.iter().all(|reading| reading.has_ended) {
                return Ok(());
            }
            if since_the_end <= PATIENT_AFTER {
                self.step_back();
            }
        }
    }

    /// Comes back where it was, or anywhere before.
    fn step_back(&mut self) {
        for reading in &mut self.runs {
            match self.rng.u8(0..20) {
                0 => reading.cursor = 0,
                1..=4 => reading.cursor = self.rng.u64(0..=reading.cursor),
                _ => {}
            }
        }
    }

    fn passage(&mut self, manners: &Manners, has_ended: bool) -> Result<()> {
        let address = self.world.address()?;
        let open: Vec<usize> =
            (0..self.runs.len()).filter(|at| !self.runs[*at].has_ended).collect();
        let runs = open.iter().map(|at| {
            let Reading { run, cursor, .. } = self.runs[*at];
            (self.world.runs[run].as_str(), cursor)
        });
        let ask =
            Ask { address, runs: runs.collect(), view: self.view, room: manners.room, has_ended };
        let Some(mut session) = self.transport.open(&ask)? else {
            std::thread::sleep(Duration::from_millis(self.rng.u64(1..20)));
            return Ok(());
        };
        let first = self.passages.len();
        for at in &open {
            let Reading { run, cursor, .. } = self.runs[*at];
            self.passages.push(Passage { run, after: cursor, told: Vec::new() });
        }
        let (mut bites, mut stalls) = (0, manners.stalls);
        loop {
            self.world.check()?;
            let passages = &mut self.passages[first..];
            let readings = &mut self.runs;
            let came = session.hear(manners.bite_bytes, &mut |of, told| {
                passages[of].told.push(told);
                readings[open[of]].has_ended |= matches!(told, Told::End(_));
            })?;
            bites += 1;
            if came != Came::Some || manners.bites.is_some_and(|most| bites >= most) {
                break;
            }
            if self.world.has_ended() && !self.world.is_there(address) {
                // What a server that is gone had written can take minutes to come when the socket
                // has little room: the system sends some of it now and then.
                break;
            }
            if stalls > 0 && !self.is_last_reading() && self.rng.u8(..STALL_AFTER) == 0 {
                stalls -= 1;
                std::thread::sleep(Duration::from_millis(self.rng.u64(1..STALL_MAX_MS)));
            }
        }
        for (passage, at) in self.passages[first..].iter().zip(open) {
            self.runs[at].cursor = passage.cursor();
        }
        Ok(())
    }
}

impl Manners {
    fn any(rng: &mut Rng, is_patient: bool) -> Self {
        let bite_bytes = [7, 300, 4_000, 64_000][rng.usize(..4)];
        let leaves = !is_patient && rng.u8(0..4) > 0;
        let most = (rng.usize(1..LEFT_AFTER_MAX_BYTES) / bite_bytes).max(1);
        Self {
            bites: leaves.then_some(most.min(200)),
            bite_bytes: if leaves { bite_bytes } else { bite_bytes.max(4_000) },
            stalls: if is_patient || rng.bool() { 0 } else { rng.usize(0..STALLS_MAX) },
            room: (rng.u8(0..3) == 0).then_some(SMALL_ROOM_BYTES),
        }
    }
}
