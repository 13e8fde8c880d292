//! How much memory a run's state takes, counted by the allocator.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(unsafe_code, reason = "an allocator that counts can only be written so")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use runcast_event::{Epoch, RunId, Timestamp, parse_event};
use runcast_run::{AGENT_PIPELINE, RunState};
use serde_json::{Value, json};

/// Counts what is allocated, as large as it was asked for.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a quiet run may take.
const QUIET_BYTES_MAX: usize = 2 * 1024;

fn fold(state: &mut RunState, draft: &Value) {
    let payload = parse_event(draft.to_string().as_bytes(), Timestamp::now()).unwrap().payload;
    state.apply(state.offset().next(), Epoch::FIRST, &payload);
}

fn quiet() -> Vec<Value> {
    let definition = json!({"workflow": "nightly-report", "name": "The report of Tuesday",
        "tags": ["nightly", "team-a"], "stages": AGENT_PIPELINE, "metadata": {"commit": "0a1b2c3d"}});
    vec![
        json!({"type": "run.queued", "data": definition}),
        json!({"type": "run.started"}),
        json!({"type": "agent.spawned", "agent": "planner", "data": {"model": "m-1"}}),
        json!({"type": "stage.started", "stage": 1}),
        json!({"type": "step.started", "stage": 1, "step": "fetch", "data": {"name": "Fetch"}}),
        json!({"type": "output", "data": {"text": "hello\n"}}),
    ]
}

#[test]
fn a_quiet_run_takes_less_than_two_kibibytes() {
    let states = |events: &[Value]| {
        let before = ALLOCATED.load(Ordering::Relaxed);
        let states: Vec<Box<RunState>> = (0..1_000)
            .map(|number| {
                let run = RunId::new(&format!("run_01938a3e-0000-7000-8000-{number:012}")).unwrap();
                let mut state = Box::new(RunState::new(run));
                events.iter().for_each(|draft| fold(&mut state, draft));
                state
            })
            .collect();
        (ALLOCATED.load(Ordering::Relaxed) - before) / states.len()
    };
    let events = quiet();
    let _warm = states(&events);
    let (created, quiet) = (states(&events[..1]), states(&events));
    println!("created: {created} bytes, quiet: {quiet} bytes, bare: {}", size_of::<RunState>());
    assert!(created < quiet && quiet < QUIET_BYTES_MAX, "{quiet} bytes");
}
