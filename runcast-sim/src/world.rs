//! A log on its disk, a model beside it, and what is known of both.
//!
//! One thread does everything, one thing after the other; but at any operation on the disk another
//! part may come in between: a reader, a step of the upkeep, a group of appends. After each step the
//! log must show what the model says.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use runcast_event::RunId;
use runcast_log::{Durability, EmbeddedLog, EmbeddedOptions, Log as _, LogHealth};

use crate::disk::{Faults, Interrupt, ProcessDisk, SimDisk};
use crate::machine::SimClock;
use crate::model::Model;
use crate::observer::Observer;
use crate::wait::wait;
use crate::work::{Answer, Request, Work};

/// One of so many operations on the disk has something come in between.
const INTERRUPT_EVERY: u32 = 60;
/// So many things are begun within each other at most.
const DEPTH_MAX: u32 = 2;

/// A process that has the log open.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) log: Arc<EmbeddedLog>,
    pub(crate) disk: ProcessDisk,
    pub(crate) options: EmbeddedOptions,
    pub(crate) observer: Arc<Observer>,
}

/// What is known of the log.
pub(crate) struct Known {
    /// The states since the process started, one a group; the last one is now.
    pub(crate) history: Vec<Model>,
    /// From here on a state may be lost with the power.
    pub(crate) floor: usize,
    /// How much of the simulated time had passed at each state.
    pub(crate) since: Vec<Duration>,
    /// What may become the next state: a group is being written.
    pub(crate) in_flight: Vec<Model>,
    in_flight_has_trims: bool,
    /// Groups that were written and refused because they could not be synced.
    pub(crate) in_doubt: Vec<Model>,
    /// A sync failed, so that nothing is taken until a restart.
    pub(crate) has_failed: bool,
    /// The log has noted for the next start that a sync failed of what was acknowledged.
    pub(crate) is_marked: bool,
    pub(crate) faults: Faults,
    pub(crate) is_full: bool,
    /// A byte is wrong.
    pub(crate) is_rotten: bool,
    /// Events of deleted runs, and bases that others have replaced.
    pub(crate) erased: Vec<Bytes>,
    pub(crate) session: Session,
}

/// What the log's newest note says of the process that has it, as far as that is known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Session {
    /// It may lose what it acknowledged when the power goes.
    pub(crate) is_relaxed: bool,
    /// It ended so that nothing is missing.
    pub(crate) is_clean: bool,
    /// The note may be another one.
    pub(crate) is_uncertain: bool,
    /// Starts before it that may have left a note of their own.
    pub(crate) unfinished_starts: u32,
    /// The power went since it was written.
    pub(crate) lost_power: bool,
}

/// All of it.
pub(crate) struct World {
    pub(crate) disk: SimDisk,
    pub(crate) clock: Arc<SimClock>,
    pub(crate) directory: PathBuf,
    pub(crate) boot: AtomicU32,
    process: Mutex<Option<Process>>,
    known: Mutex<Known>,
    work: Mutex<Work>,
    is_writing: AtomicBool,
    /// Commits that the observer was told of before what is being written.
    told_before: AtomicU64,
    is_keeping_up: AtomicBool,
    depth: AtomicU32,
    /// Why the simulation failed.
    pub(crate) failure: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets other parts of a world come in between.
pub(crate) struct Meddler(pub(crate) Weak<World>);

impl Interrupt for Meddler {
    fn interrupt(&self) {
        let Some(world) = self.0.upgrade() else { return };
        if !std::thread::panicking() && world.depth.load(Ordering::SeqCst) < DEPTH_MAX {
            world.come_between();
        }
    }
}

impl World {
    pub(crate) fn new(disk: SimDisk, directory: PathBuf, work: Work) -> Arc<Self> {
        Arc::new(Self {
            disk,
            clock: SimClock::new(),
            directory,
            boot: AtomicU32::new(1),
            process: Mutex::new(None),
            known: Mutex::new(Known {
                history: vec![Model::new()],
                floor: 0,
                since: vec![Duration::ZERO],
                in_flight: Vec::new(),
                in_flight_has_trims: false,
                in_doubt: Vec::new(),
                has_failed: false,
                is_marked: false,
                faults: Faults::default(),
                is_full: false,
                is_rotten: false,
                erased: Vec::new(),
                session: Session { is_clean: true, ..Session::default() },
            }),
            work: Mutex::new(work),
            is_writing: AtomicBool::new(false),
            told_before: AtomicU64::new(0),
            is_keeping_up: AtomicBool::new(false),
            depth: AtomicU32::new(0),
            failure: Mutex::new(None),
        })
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    pub(crate) fn work(&self) -> MutexGuard<'_, Work> {
        lock(&self.work)
    }

    pub(crate) fn now(&self) -> Model {
        self.known().now().clone()
    }

    pub(crate) fn set_process(&self, process: Option<Process>) {
        let before = std::mem::replace(&mut *lock(&self.process), process);
        drop(before);
    }

    /// The process, if it is there and alive.
    pub(crate) fn process(&self) -> Option<Process> {
        lock(&self.process).clone().filter(|process| !process.disk.is_dead())
    }

    /// Ends the simulation.
    pub(crate) fn fail(&self, why: String) -> ! {
        lock(&self.failure).get_or_insert_with(|| why.clone());
        panic!("{why}");
    }

    pub(crate) fn note(&self, line: std::fmt::Arguments<'_>) {
        self.disk.note(line);
    }

    fn come_between(&self) {
        let chosen = {
            let mut work = self.work();
            (work.rng.u32(..INTERRUPT_EVERY) == 0).then(|| work.rng.u8(..10))
        };
        let Some(chosen) = chosen else { return };
        self.depth.fetch_add(1, Ordering::SeqCst);
        match chosen {
            0..4 => self.look(),
            4..7 if !self.is_keeping_up.load(Ordering::SeqCst) => {
                self.keep_up();
            }
            7.. if !self.is_writing.load(Ordering::SeqCst) => self.ask_some(),
            _ => {}
        }
        self.depth.fetch_sub(1, Ordering::SeqCst);
    }

    /// One step of the upkeep. False when there is nothing to do, or it did not work.
    pub(crate) fn keep_up(&self) -> bool {
        let Some(process) = self.process() else { return false };
        let faults = self.disk.faults_made();
        self.note(format_args!("keep up"));
        self.is_keeping_up.store(true, Ordering::SeqCst);
        let worked = process.log.keep_up();
        self.is_keeping_up.store(false, Ordering::SeqCst);
        if process.disk.is_dead() {
            return false;
        }
        match worked {
            Ok(worked) => {
                self.note(format_args!("kept up: {worked}"));
                worked
            }
            Err(error) => {
                let known = self.known();
                let is_excused = self.disk.faults_made() > faults || known.is_rotten;
                drop(known);
                self.note(format_args!("could not keep up"));
                if !is_excused {
                    self.fail(format!("the upkeep failed without a reason: {error}"));
                }
                false
            }
        }
    }

    /// Asks the writer for a few things that come at once.
    pub(crate) fn ask_some(&self) {
        let now = self.now();
        let requests = {
            let mut work = self.work();
            let count = if work.rng.bool() { 1 } else { work.rng.usize(2..6) };
            (0..count).map(|_| work.request(&now)).collect()
        };
        self.ask(requests);
    }

    /// Asks the writer for things, and holds its answers against the model's.
    pub(crate) fn ask(&self, requests: Vec<Request>) {
        let Some(process) = self.process() else { return };
        for request in &requests {
            self.note(format_args!("{}", request.in_short()));
        }
        let mut waiting = crate::asked::Asked::new(&process.log, requests);
        while !waiting.is_empty() {
            self.set_in_flight(waiting.requests());
            let faults = self.disk.faults_made();
            let wal_syncs_failed = self.disk.wal_syncs_failed();
            self.write(&process);
            if process.disk.is_dead() {
                return;
            }
            let group = waiting.answered();
            if group.is_empty() {
                self.fail("nothing of what waits was answered".to_owned());
            }
            let sync_failed = self.disk.wal_syncs_failed() > wal_syncs_failed;
            self.judge(&process, &group, self.disk.faults_made() > faults, sync_failed);
        }
        self.known().in_flight.clear();
    }

    /// Lets the writer write one group, or what is due.
    pub(crate) fn write(&self, process: &Process) {
        self.told_before.store(process.observer.commits(), Ordering::SeqCst);
        self.is_writing.store(true, Ordering::SeqCst);
        process.log.write();
        self.is_writing.store(false, Ordering::SeqCst);
    }

    fn set_in_flight(&self, requests: Vec<&Request>) {
        let mut known = self.known();
        let mut next = known.now().clone();
        let is_trim = |request: &&Request| matches!(request, Request::Trim(..));
        known.in_flight_has_trims = requests.iter().any(is_trim);
        known.in_flight = requests
            .into_iter()
            .map(|request| {
                request.apply(&mut next);
                next.clone()
            })
            .collect();
    }

    /// Takes a group's answers over, if they are right.
    fn judge(
        &self,
        process: &Process,
        group: &[(Request, Answer)],
        has_fault: bool,
        sync_failed: bool,
    ) {
        for (_, answer) in group {
            self.note(format_args!("  {}", answer.in_short()));
        }
        let mut next = self.now();
        let before = next.clone();
        let expected: Vec<Answer> =
            group.iter().map(|(request, _)| request.apply(&mut next)).collect();
        let mut known = self.known();
        known.in_flight.clear();
        let had_failed = known.has_failed;
        known.has_failed |= sync_failed;
        if known.has_failed && !matches!(process.log.health(), LogHealth::Failed { .. }) {
            self.fail("a sync failed, and the log says that it is well".to_owned());
        }
        let refused = group.iter().filter(|(_, answer)| answer.is_refusal()).count();
        if refused > 0 {
            let waiting = process.log.measure().wals_waiting;
            let waits = waiting >= process.options.wals_waiting_max as u64;
            let is_excused = has_fault || known.has_failed || waits;
            if !is_excused || refused < group.len() {
                self.fail(format!("refused without a reason: {group:?}"));
            }
            if sync_failed {
                known.in_doubt.push(next);
            }
            return;
        }
        if had_failed && next != before {
            self.fail("something was acknowledged after a sync had failed".to_owned());
        }
        for ((request, answer), expected) in group.iter().zip(&expected) {
            if answer != expected {
                self.fail(format!("{request:?}: answered {answer:?}, not {expected:?}"));
            }
        }
        let gives_up = group.iter().zip(&expected).any(|((request, _), answer)| {
            !matches!(request, Request::Append(_)) && *answer == Answer::Delete(Ok(true))
        });
        known.note_erased(group, &before);
        known.history.push(next);
        known.since.push(self.clock.passed());
        if gives_up || process.options.durability == Durability::Sync {
            known.all_is_durable();
        }
    }

    /// Lets time go by.
    pub(crate) fn pass(&self, time: Duration) {
        let Some(process) = self.process() else { return };
        self.note(format_args!("{} ms later", time.as_millis()));
        self.clock.advance(time);
        let wal_syncs_failed = self.disk.wal_syncs_failed();
        self.write(&process);
        if process.disk.is_dead() {
            return;
        }
        let mut known = self.known();
        known.has_failed |= self.disk.wal_syncs_failed() > wal_syncs_failed;
        if let Durability::Relaxed { sync_every } = process.options.durability
            && !known.has_failed
        {
            let now = self.clock.passed();
            let durable = known.since.iter().rposition(|since| *since + sync_every <= now);
            known.floor = known.floor.max(durable.unwrap_or(0));
        }
    }

    /// Whether readers may see already what is being written: only when it was told of.
    pub(crate) fn is_shown(&self, process: &Process) -> bool {
        let is_told = process.observer.commits() > self.told_before.load(Ordering::SeqCst);
        // Nobody is told of a trim.
        let has_trims = self.known().in_flight_has_trims;
        self.is_writing.load(Ordering::SeqCst) && (is_told || has_trims)
    }

    /// Whether nothing goes wrong now that was not right before.
    pub(crate) fn is_well(&self) -> bool {
        let known = self.known();
        known.faults == Faults::default() && !known.is_full && !known.has_failed && !known.is_rotten
    }

    /// Everything that a reader can see of a run.
    pub(crate) fn names(&self) -> Vec<RunId> {
        let known = self.known();
        let mut names: Vec<RunId> =
            known.history.iter().chain(&known.in_flight).flat_map(Model::names).cloned().collect();
        drop(known);
        names.push(RunId::feed());
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Closes the log. Whether that surely was noted.
    pub(crate) fn shut_down(&self, process: &Process) -> bool {
        let (faults, wal_syncs_failed) = (self.disk.faults_made(), self.disk.wal_syncs_failed());
        self.note(format_args!("shut down"));
        self.is_writing.store(true, Ordering::SeqCst);
        wait(process.log.shut_down());
        self.is_writing.store(false, Ordering::SeqCst);
        let mut known = self.known();
        known.has_failed |= self.disk.wal_syncs_failed() > wal_syncs_failed;
        !process.disk.is_dead() && self.disk.faults_made() == faults && !known.has_failed
    }
}

impl Known {
    pub(crate) fn now(&self) -> &Model {
        self.history.last().expect("there is always a state")
    }

    /// Nothing that was acknowledged can be lost any more.
    pub(crate) fn all_is_durable(&mut self) {
        self.floor = self.history.len() - 1;
    }

    /// Notes the events of runs that a group deleted, and what stood for events until more were trimmed.
    fn note_erased(&mut self, group: &[(Request, Answer)], before: &Model) {
        let mut model = before.clone();
        for (request, answer) in group {
            match (request, answer) {
                (Request::Delete(run), Answer::Delete(Ok(true))) => {
                    self.erased.extend(model.marks(run));
                }
                (Request::Trim(run, _), Answer::Delete(Ok(true))) => {
                    self.erased.extend(model.base_mark(run));
                }
                _ => {}
            }
            request.apply(&mut model);
        }
    }
}
