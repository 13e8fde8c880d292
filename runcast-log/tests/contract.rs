//! What every engine promises, as facts that each engine is put through.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use runcast_contract::{Engine, all_facts};
use runcast_log::{EmbeddedLog, EmbeddedOptions, MemoryLog};
use support::{Faults, Recorder, machine};

fn memory() -> Engine {
    let recorder = Arc::new(Recorder::default());
    let log = MemoryLog::new(Arc::clone(&recorder) as Arc<_>);
    Engine { log, recorder, counts_events: true, keeps: Box::new(()) }
}

/// Small files, so that streams lie in several.
fn embedded() -> Engine {
    embedded_with(EmbeddedOptions { wal_bytes_max: 2_000, ..EmbeddedOptions::default() })
}

/// Tiny files, so that there are seals and merges all the time.
fn sealing() -> Engine {
    embedded_with(EmbeddedOptions {
        wal_bytes_max: 200,
        room_bytes_max: 0,
        seal_memory_bytes_max: 500,
        merge_segments: 2,
        files_open_max: 2,
        erase_within: Duration::ZERO,
        ..EmbeddedOptions::default()
    })
}

fn embedded_with(options: EmbeddedOptions) -> Engine {
    let recorder = Arc::new(Recorder::default());
    let directory = tempfile::tempdir().unwrap();
    let faults = Arc::<Faults>::default();
    let surroundings = machine("boot", &faults);
    let observer = Arc::clone(&recorder) as Arc<_>;
    let log = EmbeddedLog::open_in(directory.path(), options, surroundings, observer).unwrap();
    Engine { log, recorder, counts_events: true, keeps: Box::new(directory) }
}

all_facts!(a_log_in_memory, super::memory());
all_facts!(an_embedded_log, super::embedded());
all_facts!(an_embedded_log_that_seals_all_the_time, super::sealing());
