//! What the demonstration's agent does: the events, and the pause before each.
//!
//! The same events every time, as many as asked for: an opening, rounds of work, an ending.

use std::collections::VecDeque;
use std::time::Duration;

use runcast_event::{Draft, Stage};
use serde_json::{Value, json};

/// The run's stages, in order.
pub(super) const STAGES: [&str; 3] = ["plan", "research", "write"];

/// The fewest events of a demonstration: opening and ending, with the run's definition.
pub(super) const EVENTS_MIN: u64 = 120;

const PLAN: &str = "I will look up why there are two tides a day, check the numbers for three \
    ports, and write one page. First the sources, then the calculation, then the text.";
const FINDING: &str = "The moon pulls the near side of the earth more strongly than its centre, \
    and the centre more than the far side: the water bulges on both sides, and a place turns \
    through both bulges in a day of 24 hours and 50 minutes.";
const REPORT: &str = "# The tides\n\nTwice a day the sea comes and goes. The moon does most of \
    it, the sun about half as much. When both pull along one line, at new and at full moon, the \
    tide is a **spring tide**; at the quarters it is a *neap tide*.\n\nThe shape of the coast \
    does the rest: 30 cm in the open ocean, 13 m in the bay of Saint-Malo.\n";
const PORTS: [&str; 5] = ["Saint-Malo", "Bristol", "Hamburg", "Boston", "Busan"];

/// The pauses of an agent at its natural speed.
const TOKEN: Duration = Duration::from_millis(35);
const THOUGHT: Duration = Duration::from_millis(400);
const TOOL: Duration = Duration::from_millis(250);
const LOG: Duration = Duration::from_millis(60);
const NONE: Duration = Duration::ZERO;

type Scene = Vec<(Duration, Draft)>;

/// The events, in order.
pub(super) struct Script {
    queue: VecDeque<(Duration, Draft)>,
    /// Events of rounds that are still to come.
    work_left: usize,
    rounds: u64,
    ending: Option<Scene>,
}

impl Script {
    /// A script of this many events.
    pub(super) fn new(events: u64) -> Self {
        let opening = opening();
        let ending = ending();
        let events = usize::try_from(events).unwrap_or(usize::MAX);
        let work_left = events.saturating_sub(opening.len() + ending.len());
        Self { queue: opening.into(), work_left, rounds: 0, ending: Some(ending) }
    }

    fn refill(&mut self) {
        if self.work_left == 0 {
            self.queue.extend(self.ending.take().unwrap_or_default());
            return;
        }
        let mut scene = round(self.rounds);
        if scene.len() > self.work_left {
            // No step is left open where there is no room to end it.
            scene = (0..self.work_left).map(|line| (LOG, note(line))).collect();
        }
        self.rounds += 1;
        self.work_left -= scene.len();
        self.queue.extend(scene);
    }
}

impl Iterator for Script {
    type Item = (Duration, Draft);

    fn next(&mut self) -> Option<Self::Item> {
        if self.queue.is_empty() {
            self.refill();
        }
        self.queue.pop_front()
    }
}

fn opening() -> Scene {
    let mut scene = vec![
        (THOUGHT, event("run.started", json!({}))),
        (NONE, log("info", "agent is starting", json!({ "model": "demo-1" }))),
        (
            NONE,
            event("agent.spawned", json!({ "name": "Researcher", "model": "demo-1" }))
                .by("researcher"),
        ),
        (NONE, event("stage.started", json!({})).stage("plan")),
    ];
    scene.extend(message("plan", PLAN));
    scene.push((NONE, event("stage.completed", json!({ "duration_ms": 1_600 })).stage("plan")));
    scene.push((THOUGHT, event("stage.started", json!({})).stage("research")));
    scene
}

/// One step of research: a search, a download with progress, what was found.
fn round(number: u64) -> Scene {
    let port = PORTS[usize::try_from(number).unwrap_or(0) % PORTS.len()];
    let step = format!("tides-{}", number + 1);
    let call = format!("call-{}", number + 1);
    let here =
        |event_type: &'static str, data| event(event_type, data).stage("research").step(&step);
    let mut scene = vec![
        (THOUGHT, here("step.started", json!({ "name": format!("Tides at {port}") }))),
        (NONE, here("tool.called", json!({ "call": call, "tool": "search" }))),
    ];
    for piece in ["{\"query\":", "\"tide table ", port, "\"}"] {
        scene.push((TOKEN, here("tool.args", json!({ "call": call, "text": piece }))));
    }
    if number % 3 == 1 {
        let error = json!({ "call": call, "error": "the source did not answer in 2 s" });
        scene.push((TOOL, here("tool.failed", error)));
        scene.push((NONE, log("warn", "search failed, trying once more", json!({ "port": port }))));
        scene.push((NONE, here("step.retrying", json!({ "attempt": 2, "delay_ms": 250 }))));
    } else {
        let result = json!({ "call": call, "duration_ms": 250, "result": { "found": 12 } });
        scene.push((TOOL, here("tool.completed", result)));
    }
    for part in 1..=5_u32 {
        // Progress in words for the page, or as a bar such as a terminal program draws.
        let draft = if number.is_multiple_of(2) {
            let progress =
                json!({ "current": part, "total": 5, "progress": f64::from(part) / 5.0 });
            here("step.progress", progress)
        } else {
            let percent = part * 20;
            let end = if part == 5 { "\n" } else { "" };
            let bar = format!("\r\u{1b}[36m{port:<12}\u{1b}[0m {percent:>3} %{end}");
            here("output", json!({ "text": bar, "stream": "stdout" }))
        };
        scene.push((LOG, draft));
    }
    scene.push((LOG, log("debug", "page read", json!({ "port": port, "bytes": 18_234 + number }))));
    scene.extend(message(&format!("finding-{}", number + 1), FINDING));
    scene.push((
        NONE,
        here("step.completed", json!({ "duration_ms": 2_900, "output": { "port": port } })),
    ));
    scene
}

fn ending() -> Scene {
    let mut scene = vec![
        (NONE, event("stage.completed", json!({ "duration_ms": 9_000 })).stage("research")),
        (THOUGHT, event("stage.started", json!({})).stage("write")),
    ];
    scene.extend(message("report", REPORT));
    scene.push((NONE, event("stage.completed", json!({ "duration_ms": 4_000 })).stage("write")));
    scene.push((NONE, log("info", "agent is done", json!({}))));
    scene.push((
        LOG,
        event("run.completed", json!({ "exit_code": 0, "output": "one page about the tides" })),
    ));
    scene
}

/// A message as a model gives it: token by token.
fn message(id: &str, text: &str) -> Scene {
    let mut scene =
        vec![(THOUGHT, event("message.started", json!({ "message": id, "role": "assistant" })))];
    let tokens = text.split_inclusive(' ');
    scene.extend(
        tokens
            .map(|token| (TOKEN, event("message.delta", json!({ "message": id, "text": token })))),
    );
    scene.push((NONE, event("message.completed", json!({ "message": id }))));
    scene
}

fn note(line: usize) -> Draft {
    log("info", "comparing sources", json!({ "line": line + 1 }))
}

fn log(level: &str, message: &str, fields: Value) -> Draft {
    event(
        "log",
        json!({ "level": level, "message": message, "logger": "demo.agent", "fields": fields }),
    )
}

fn event(event_type: &'static str, data: Value) -> Draft {
    Draft::new(event_type, data)
}

/// Labels, put on in passing.
trait Labelled {
    fn stage(self, name: &str) -> Self;
    fn step(self, name: &str) -> Self;
    fn by(self, agent: &str) -> Self;
}

impl Labelled for Draft {
    fn stage(mut self, name: &str) -> Self {
        self.labels.stage = Some(Stage::Name(name.to_owned()));
        self
    }

    fn step(mut self, name: &str) -> Self {
        self.labels.step = Some(name.to_owned());
        self
    }

    fn by(mut self, agent: &str) -> Self {
        self.labels.agent = Some(agent.to_owned());
        self
    }
}

#[cfg(test)]
mod tests {
    use runcast_event::{Timestamp, is_terminal, is_typed, parse_event};

    use super::*;

    #[test]
    fn a_script_has_as_many_events_as_asked_for_and_ends_with_the_only_terminal_one() {
        for asked in [EVENTS_MIN - 1, 399, 1_000, 12_345] {
            let events: Vec<_> = Script::new(asked).map(|(_, draft)| draft).collect();
            assert_eq!(events.len() as u64, asked);
            let ends = events.iter().filter(|draft| is_terminal(&draft.event_type)).count();
            assert_eq!(ends, 1);
            assert_eq!(events.last().unwrap().event_type, "run.completed");
        }
    }

    #[test]
    fn every_event_is_a_valid_typed_one_and_every_step_that_starts_ends() {
        let mut open_steps = 0;
        for (_, draft) in Script::new(2_000) {
            assert!(is_typed(&draft.event_type), "{}", draft.event_type);
            parse_event(draft.to_json().as_bytes(), Timestamp::default()).unwrap();
            match &*draft.event_type {
                "step.started" => open_steps += 1,
                "step.completed" => open_steps -= 1,
                _ => {}
            }
        }
        assert_eq!(open_steps, 0);
    }
}
