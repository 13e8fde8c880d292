//! Ends of processes and machines, and what must be there afterwards.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use runcast_event::RunId;
use runcast_log::{Durability, EmbeddedOptions, Log as _, LogHealth, OpenError};

use crate::asked::Asked;
use crate::disk::Faults;
use crate::look::Seen;
use crate::machine;
use crate::model::Model;
use crate::observer::Observer;
use crate::work::Work;
use crate::world::{Known, Meddler, Process, Session, World};

/// The file by which a log tells the next start that a sync failed.
const UNSYNCED: &str = "unsynced";

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It closes the log.
    Clean,
    Killed,
    /// With the machine.
    PowerLost,
}

impl World {
    /// Ends the process, if it has not died by itself, and starts another.
    pub(crate) fn restart(self: &Arc<Self>, end: End) {
        self.note(format_args!("restart: {end:?}"));
        if let Some(process) = self.process() {
            if end == End::Clean {
                let waiting = process.log.measure().wals_waiting;
                let is_clean = self.shut_down(&process);
                // There may be no place for the note of it.
                let is_noted = is_clean && waiting < process.options.wals_waiting_max as u64;
                let mut known = self.known();
                known.session.is_clean = true;
                known.session.is_uncertain |= !is_noted;
                if is_clean {
                    known.all_is_durable();
                }
            }
            process.disk.kill();
        }
        self.set_process(None);
        let evicts = self.work().rng.u8(..3) == 0;
        if end == End::PowerLost {
            self.lose_power();
        } else if evicts {
            self.disk.evict();
        }
        self.known().is_marked = !self.disk.names(UNSYNCED).is_empty();
        let (process, lost_power) = self.start();
        let is_lossy = end == End::PowerLost || evicts || lost_power;
        self.find_state(&process, is_lossy);
        self.set_process(Some(process));
    }

    fn lose_power(&self) {
        self.disk.lose_power();
        self.boot.fetch_add(1, Ordering::SeqCst);
        self.known().session.lost_power = true;
    }

    /// The states that the log may be in now, the likeliest first. `is_lossy`: what was not synced may
    /// be lost; then a new epoch says so.
    fn possible(&self, is_lossy: bool) -> Vec<Model> {
        let known = self.known();
        let (epochs, now) = (known.session.epochs(), known.history.len() - 1);
        let mut possible = Vec::new();
        let with_epochs = |state: &Model, least: u32| {
            let mut state = state.clone();
            let mut states = Vec::new();
            let most = epochs.end() + u32::from(known.has_failed || known.is_marked);
            for epoch in 0..=most {
                if epoch >= least.max(*epochs.start()) {
                    states.push(state.clone());
                }
                state.begin_epoch();
            }
            states
        };
        for state in known.history[now..].iter().chain(&known.in_flight).chain(&known.in_doubt) {
            possible.extend(with_epochs(state, 0));
        }
        let lost = if is_lossy { &known.history[known.floor..now] } else { &[] };
        // Where a sync failed, the system may forget what it had: the log's mark says so, unless it could
        // not be made any more.
        let least = u32::from(!known.has_failed || known.is_marked);
        possible.extend(lost.iter().rev().flat_map(|state| with_epochs(state, least)));
        possible
    }

    /// Starts a process, which may take a few tries. The last one has no faults. Whether the power
    /// went meanwhile.
    fn start(self: &Arc<Self>) -> (Process, bool) {
        let mut lost_power = false;
        let (options, tries) = {
            let mut work = self.work();
            (machine::options(&mut work.rng), if work.rng.u8(..4) == 0 { 3 } else { 0 })
        };
        self.disk.set_room(None);
        self.known().is_full = false;
        for _ in 0..tries {
            let (kill_in, io, sync, power) = {
                let rng = &mut self.work().rng;
                (rng.u32(..40), rng.u32(..600), rng.u32(..600), rng.u8(..3) == 0)
            };
            let faults = if kill_in < 20 { Faults::default() } else { Faults { io, sync } };
            self.disk.kill_in((kill_in < 20).then_some(kill_in));
            self.disk.set_faults(faults);
            if let Some(process) = self.try_to_start(&options) {
                // It was killed while it looked at what it had, or nothing came of the faults.
                process.disk.kill();
            }
            self.disk.kill_in(None);
            self.known().session.unfinished_starts += 1;
            if power {
                self.lose_power();
                lost_power = true;
            }
        }
        self.disk.set_faults(Faults::default());
        self.known().faults = Faults::default();
        let process = self.try_to_start(&options).expect("without faults it starts");
        (process, lost_power)
    }

    fn try_to_start(self: &Arc<Self>, options: &EmbeddedOptions) -> Option<Process> {
        let boot = self.boot.load(Ordering::SeqCst);
        self.note(format_args!("start in boot {boot}, {:?}", options.durability));
        let disk = self.disk.process(Arc::new(Meddler(Arc::downgrade(self))));
        let observer = Arc::<Observer>::default();
        let faults = self.disk.faults_made();
        let opened = machine::start(&self.directory, options, &disk, &self.clock, boot, &observer);
        match opened {
            Ok(log) => Some(Process { log, disk, options: options.clone(), observer }),
            Err(OpenError::Io { .. }) if disk.is_dead() || self.disk.faults_made() > faults => None,
            Err(_) if disk.is_dead() => None,
            Err(error) => self.fail(format!("the log does not open: {error}")),
        }
    }

    /// Which of some states that look alike it is: they differ in the epoch of a run that is made
    /// next, of a new one or of one that was deleted. With the states behind that, if it had to be
    /// tried.
    fn tell_apart(&self, process: &Process, alike: &[&Model]) -> Option<Vec<Model>> {
        let mut histories: Vec<Vec<Model>> =
            alike.iter().map(|state| vec![(*state).clone()]).collect();
        let boot = self.boot.load(Ordering::SeqCst);
        let mut probes = vec![Work::new_name(boot, self.disk.operations())];
        probes.extend(alike.first()?.deleted().filter(|run| {
            let next = |state: &&Model| state.next_epoch(run);
            alike.iter().any(|state| next(state) != next(&alike[0]))
        }));
        for run in probes {
            if histories.len() < 2 {
                break;
            }
            let mut asked = Asked::new(&process.log, vec![Work::probe(run)]);
            process.log.write();
            let (probe, answer) = asked.answered().pop()?;
            histories.retain_mut(|history| {
                let mut state = history.last().expect("it has a state").clone();
                let is_it = probe.apply(&mut state) == answer;
                history.push(state);
                is_it
            });
        }
        histories.into_iter().next()
    }

    /// Which of the states it is.
    fn find_state(&self, process: &Process, is_lossy: bool) {
        let states = self.possible(is_lossy);
        let mut names: Vec<RunId> = states.iter().flat_map(Model::names).cloned().collect();
        names.push(RunId::feed());
        names.sort_unstable();
        names.dedup();
        let seen: Seen = self.seen(process, &names);
        let mut alike: Vec<&Model> =
            states.iter().filter(|state| state.seen(&names) == seen).collect();
        alike.dedup();
        let Some(history) = self.tell_apart(process, &alike) else {
            let difference = seen.difference(&states[0].seen(&names));
            let count = states.len();
            self.fail(format!(
                "it is in none of {count} possible states; in the likeliest {difference}"
            ));
        };
        let is_noted = process_is_noted(process);
        let mut known = self.known();
        known.restart_from(history, self.clock.passed());
        if process.options.durability == Durability::Sync {
            known.all_is_durable();
        }
        known.session = Session {
            is_relaxed: process.options.durability != Durability::Sync,
            is_uncertain: !is_noted,
            ..Session::default()
        };
        drop(known);
        self.note(format_args!("it is there, noted: {is_noted}"));
    }
}

/// Whether it could note that it has the log.
fn process_is_noted(process: &Process) -> bool {
    process.log.health() == LogHealth::Healthy
}

impl Session {
    /// How many epochs may have begun when the next process has started.
    fn epochs(&self) -> std::ops::RangeInclusive<u32> {
        if !self.lost_power {
            return 0..=self.unfinished_starts;
        }
        let has_lost = self.is_relaxed && (!self.is_clean || self.is_uncertain);
        // What a start that came to nothing has read is durable, and it may have said so.
        let has_surely_lost = has_lost && !self.is_uncertain && self.unfinished_starts == 0;
        let most = u32::from(has_lost || self.is_uncertain) + self.unfinished_starts;
        u32::from(has_surely_lost)..=most
    }
}

impl Known {
    /// The first state of a history is on the disk.
    fn restart_from(&mut self, history: Vec<Model>, now: Duration) {
        self.floor = 0;
        self.since = vec![now; history.len()];
        self.history = history;
        self.in_flight.clear();
        self.in_doubt.clear();
        self.has_failed = false;
    }
}
