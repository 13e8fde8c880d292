//! What a look at many active runs costs: a page of the list, counts, and the inbox.

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{Line, Row, Target};
use crate::sample::{Sample, Window, number};
use crate::scale::Scale;
use crate::subject::{FloorDisk, Place, Subject};
use crate::wire::call::Caller;

pub(super) const LISTS: Row = Row {
    name: "lists",
    about: "10,000 active runs in a stage and a step",
    has_floor: false,
    lines: &[
        Line::new("list", "ms", "CPU, the newest 50", Target::AtMost(20.0)),
        Line::new("counts", "ms", "CPU, the newest 50 and counts", Target::AtMost(20.0)),
        Line::new("search", "ms", "CPU, counts of what few pass", Target::AtMost(20.0)),
        Line::new("inbox", "ms", "CPU, open inputs", Target::AtMost(20.0)),
        Line::new("kib", "KiB", "all memory a quiet run", Target::Shown),
    ],
    measure: lists,
};

/// The figure, what is asked for, and what has to be in the answer.
const LOOKS: [(&str, &str, &str); 4] = [
    ("list", "/v1/runs?limit=50", r#""status":"running""#),
    ("counts", "/v1/runs?limit=50&counts=1", r#""counts":"#),
    ("search", SEARCH, r#""id":"lists-7""#),
    ("inbox", "/v1/inputs?limit=50", r#""input":"#),
];
const SEARCH: &str = "/v1/runs?workflow=nightly&tag=rare&text=number%207&limit=50&counts=1";

const CONNECTIONS: usize = 16;
const LOOKS_EACH: u32 = 50;
/// Of so many runs one has an open input, and one the rare tag.
const RARE: usize = 500;

fn lists(place: &Place, scale: &Scale) -> Result<Sample> {
    let subject = place.start(FloorDisk::None)?;
    let runs = scale.active_runs;
    begin(&subject, 0..CONNECTIONS, "warm")?;
    let before = subject.memory()?;
    begin(&subject, 0..runs, "lists")?;
    let mut caller = Caller::connect(subject.address())?;
    // What is asked first waits until all is folded in.
    look(&mut caller, "/v1/runs?limit=1", "lists")?;
    let after = subject.memory()?;
    let mut sample = Sample::default();
    for (figure, path, expected) in LOOKS {
        let window = Window::open(&subject)?;
        for _ in 0..LOOKS_EACH {
            look(&mut caller, path, expected)?;
        }
        let spent = window.close()?;
        sample = sample.with(figure, spent.microseconds_each(LOOKS_EACH.into()) / 1e3);
        sample.spent = sample.spent.plus(spent);
    }
    let grown = number(after.pss_kib) - number(before.pss_kib);
    Ok(sample.with("kib", grown / number(runs as u64)))
}

fn look(caller: &mut Caller, path: &str, expected: &str) -> Result<()> {
    let answer = caller.get(path)?;
    let body = String::from_utf8_lossy(&answer.body);
    ensure!(answer.status == 200, "GET {path} is answered {}: {body}", answer.status);
    ensure!(body.contains(expected), "GET {path} has no {expected}: {body:.400}");
    Ok(())
}

/// Makes runs that are at work.
fn begin(subject: &Subject, runs: std::ops::Range<usize>, prefix: &str) -> Result<()> {
    let address = subject.address();
    std::thread::scope(|scope| {
        let publishers: Vec<_> = (0..CONNECTIONS)
            .map(|from| {
                let mine = runs.clone().skip(from).step_by(CONNECTIONS);
                scope.spawn(move || -> Result<()> {
                    let mut caller = Caller::connect(address)?;
                    for run in mine {
                        let path = format!("/v1/runs/{prefix}-{run}/events");
                        let media = "Content-Type: application/x-ndjson\r\n";
                        let answer = caller.post(&path, media, events(run).as_bytes())?;
                        let body = String::from_utf8_lossy(&answer.body);
                        ensure!(answer.status < 300, "a run was answered {}", body);
                    }
                    Ok(())
                })
            })
            .collect();
        for publisher in publishers {
            let made = publisher.join().map_err(|_| anyhow!("a publisher panicked"))?;
            made.context("a run could not be made")?;
        }
        Ok(())
    })
}

fn events(run: usize) -> String {
    let tags = if run % RARE == 7 { r#"["rare","eu"]"# } else { r#"["eu"]"# };
    let workflow = if run.is_multiple_of(2) { "hourly" } else { "nightly" };
    let mut events = format!(
        r#"{{"type":"run.started","data":{{"workflow":"{workflow}","name":"number {run}","tags":{tags},"stages":["prepare","work","publish"]}}}}
{{"type":"stage.started","stage":"prepare"}}
{{"type":"stage.completed","stage":"prepare"}}
{{"type":"stage.started","stage":"work"}}
{{"type":"step.started","step":"fetch"}}
"#
    );
    if run % RARE == 8 {
        events.push_str(r#"{"type":"input.requested","data":{"input":"go","prompt":"Go on?"}}"#);
        events.push('\n');
    }
    events
}
