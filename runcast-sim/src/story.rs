//! What happens in a simulation, step by step, by chance.

use std::sync::Arc;
use std::time::Duration;

use runcast_log::{EmbeddedOptions, Log as _, OpenError};

use crate::disk::Faults;
use crate::machine::{self, ERASE_WITHIN};
use crate::restart::End;
use crate::world::World;

/// Steps of the upkeep until there is surely nothing left to do.
const UPKEEP_STEPS_MAX: usize = 2_000;

impl World {
    /// Starts, lets so many things happen, and looks at the end whether all is right.
    pub(crate) fn live(self: &Arc<Self>, steps: usize) {
        self.restart(End::Killed);
        for _ in 0..steps {
            self.step();
            if self.process().is_none() {
                let end = if self.work().rng.bool() { End::Killed } else { End::PowerLost };
                self.restart(end);
            }
        }
        self.disk.kill_in(None);
        self.end_faults();
        self.restart(End::Clean);
        self.settle();
        self.look_at_all();
    }

    fn step(self: &Arc<Self>) {
        let chosen = self.work().rng.u8(..100);
        match chosen {
            0..45 => self.ask_some(),
            45..60 => self.look(),
            60..74 => {
                self.keep_up();
            }
            74..78 => self.settle(),
            78..82 => {
                let time = self.work().rng.u64(..8_000);
                self.pass(Duration::from_millis(time));
            }
            82..86 => self.look_at_all(),
            86 => self.restart(End::Clean),
            87 => self.restart(End::Killed),
            88 => self.restart(End::PowerLost),
            89..91 => {
                let operations = self.work().rng.u32(..60);
                self.note(format_args!("to be killed in {operations}"));
                self.disk.kill_in(Some(operations));
            }
            91..93 => self.begin_faults(),
            93..95 => self.end_faults(),
            95 => self.fill_up(),
            96 | 97 => self.erase(),
            _ => self.rot(),
        }
    }

    /// The upkeep does all that there is to do.
    fn settle(&self) {
        for _ in 0..UPKEEP_STEPS_MAX {
            if !self.keep_up() {
                return;
            }
        }
        self.fail(format!("the upkeep has not come to an end in {UPKEEP_STEPS_MAX} steps"));
    }

    fn begin_faults(&self) {
        let mut faults = Faults::default();
        {
            let rng = &mut self.work().rng;
            if rng.u8(..4) > 0 {
                faults.io = rng.u32(..400);
            } else {
                faults.sync = rng.u32(..400);
            }
        }
        self.note(format_args!("{faults:?}"));
        self.disk.set_faults(faults);
        self.known().faults = faults;
    }

    /// All goes well from here on. The log takes events again, unless a sync failed.
    fn end_faults(&self) {
        self.note(format_args!("no faults"));
        self.disk.set_faults(Faults::default());
        self.disk.set_room(None);
        let mut known = self.known();
        known.faults = Faults::default();
        known.is_full = false;
        drop(known);
        self.settle();
        self.ask_some();
    }

    fn fill_up(&self) {
        let room = self.work().rng.u64(..4_000);
        self.note(format_args!("{room} bytes of room"));
        self.disk.set_room(Some(room));
        self.known().is_full = true;
    }

    /// Time goes by; then nothing that was deleted is on the disk.
    fn erase(&self) {
        if !self.is_well() {
            return;
        }
        let mut due = std::mem::take(&mut self.known().erased);
        self.pass(ERASE_WITHIN / 2);
        self.settle();
        self.pass(ERASE_WITHIN / 2);
        self.settle();
        if self.process().is_none() || !self.is_well() {
            self.known().erased.append(&mut due);
            return;
        }
        for event in due {
            if let Some(file) = self.disk.has_bytes(&event) {
                self.fail(format!("{event:?} was deleted and erased, and is in {file}"));
            }
        }
    }

    /// A byte that is sealed becomes another. Readers are told or see nothing of it; when it is
    /// restored all is as it was.
    fn rot(self: &Arc<Self>) {
        if !self.is_well() {
            return;
        }
        let Some(process) = self.process() else { return };
        let mut names = self.disk.names("wal-");
        names.pop();
        names.extend(self.disk.names("seg-"));
        names.extend(self.disk.names("manifest"));
        names.retain(|name| !name.ends_with(".new"));
        if names.is_empty() {
            return;
        }
        let name = names.swap_remove(self.work().rng.usize(..names.len()));
        let Some(rot) = self.disk.rot(&name) else { return };
        self.known().is_rotten = true;
        for _ in 0..10 {
            self.look();
            self.keep_up();
        }
        let is_clean = self.process().is_some() && self.shut_down(&process);
        process.disk.kill();
        if is_clean {
            self.open_rotten(&process.options);
        }
        self.disk.restore(rot);
        self.known().is_rotten = false;
        drop(process);
        self.restart(End::Killed);
        self.look_at_all();
    }

    /// A log with a wrong byte opens, or says where it is damaged.
    fn open_rotten(&self, options: &EmbeddedOptions) {
        let disk = self.disk.process(Arc::new(crate::world::Meddler(std::sync::Weak::new())));
        let boot = self.boot.load(std::sync::atomic::Ordering::SeqCst);
        let observer = Arc::default();
        self.set_process(None);
        match machine::start(&self.directory, options, &disk, &self.clock, boot, &observer) {
            Ok(log) => {
                let stopped = log.measure().damaged_places;
                self.note(format_args!("it opens, {stopped}"));
                disk.kill();
            }
            Err(
                error @ (OpenError::Damaged { .. }
                | OpenError::Foreign { .. }
                | OpenError::Newer { .. }),
            ) => {
                let kind = std::mem::discriminant(&error);
                self.note(format_args!("it does not open: {kind:?}"));
            }
            Err(error) => self.fail(format!("a wrong byte is no reason for this: {error}")),
        }
    }
}
