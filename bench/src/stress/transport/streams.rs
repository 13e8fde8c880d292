//! Server-sent events of many runs on one connection.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::sse::{Frame, Meaning, event_in, follow};
use super::{Ask, Session, Transport};
use crate::stress::passage::Told;
use crate::wire::sse::offset_of;

pub(super) struct Streams;

impl Transport for Streams {
    fn name(&self) -> &'static str {
        "streams"
    }

    fn runs_max(&self) -> usize {
        usize::MAX
    }

    fn open(&self, ask: &Ask<'_>) -> Result<Option<Box<dyn Session>>> {
        let runs: String = ask.runs.iter().map(|(run, _)| format!("run={run}&")).collect();
        let cursors: Vec<_> =
            ask.runs.iter().map(|(run, after)| format!("{run}:{after}")).collect();
        let query = ask.view.query();
        let path = format!("/v1/streams?{runs}named=1&after={}{query}", cursors.join(","));
        let place = |(at, (run, after)): (usize, &(&str, u64))| {
            ((*run).to_owned(), Place { at, cursor: *after, has_ended: false })
        };
        follow(ask, &path, ManyRuns { runs: ask.runs.iter().enumerate().map(place).collect() })
    }
}

struct ManyRuns {
    runs: HashMap<String, Place>,
}

/// Where the reader stands in a run.
struct Place {
    at: usize,
    cursor: u64,
    has_ended: bool,
}

impl ManyRuns {
    fn place(&mut self, run: &Value) -> Result<&mut Place> {
        let named = run.as_str().and_then(|run| self.runs.get_mut(run));
        named.with_context(|| format!("nobody asked for the run {run}"))
    }

    /// Moves all runs to where an id has them, but for the one that an event moves.
    fn move_to(&mut self, id: &str, tell: &mut dyn FnMut(usize, Told)) -> Result<()> {
        for part in id.split(',') {
            let (run, cursor) = part.rsplit_once(':').context("an id has no colon")?;
            let cursor = offset_of(cursor.as_bytes()).context("an id has no cursor")?;
            let place = self.place(&run.into())?;
            if cursor != place.cursor {
                place.cursor = cursor;
                tell(place.at, Told::Moved(cursor));
            }
        }
        for (run, place) in &self.runs {
            let named = id.split(',').any(|part| part.rsplit_once(':').is_some_and(|p| p.0 == run));
            ensure!(named || place.cursor == 0, "the id {id} forgets {run}");
        }
        Ok(())
    }

    fn end(&mut self, end: &Value, tell: &mut dyn FnMut(usize, Told)) -> Result<()> {
        ensure!(end["type"] == "run.completed", "the end is {end}");
        let place = self.place(&end["run"])?;
        if !std::mem::replace(&mut place.has_ended, true) {
            tell(place.at, Told::End(end["offset"].as_u64()));
        }
        Ok(())
    }
}

impl Meaning for ManyRuns {
    fn read(&mut self, frame: Frame, tell: &mut dyn FnMut(usize, Told)) -> Result<()> {
        match (frame.id, frame.event, frame.data) {
            (None, None, None) => {}
            (Some(id), None, None) => self.move_to(&id, tell)?,
            (Some(id), name, Some(data)) => {
                let mut event = event_in(&data, name, true)?;
                let fields = event.as_object_mut().context("an event is no object")?;
                let run = fields.remove("run").context("an event names no run")?;
                let told = Told::of(&mut event)?;
                let place = self.place(&run)?;
                ensure!(!place.has_ended, "{told:?} came behind the end of {run}");
                place.cursor = told.cursor().unwrap_or_default();
                tell(place.at, told);
                self.move_to(&id, &mut |at, moved| tell(at, moved))?;
                ensure!(
                    told.cursor() == Some(self.place(&run)?.cursor),
                    "the id {id} is not that of {told:?} of {run}"
                );
            }
            (None, Some(name), Some(data)) if name == "end" => {
                let end: Value = serde_json::from_str(&data)?;
                match end["runs"].as_array() {
                    None => self.end(&end, tell)?,
                    Some(ends) => {
                        ends.iter().try_for_each(|end| self.end(end, tell))?;
                        let all = self.runs.values().all(|place| place.has_ended);
                        ensure!(all, "the last end came before all runs had ended: {end}");
                    }
                }
            }
            other => bail!("the frame {other:?}"),
        }
        Ok(())
    }
}
