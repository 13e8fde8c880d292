//! JSON pages of one run, one after the other, with a wait at the tail.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Ask, Session, Transport};
use crate::stress::passage::Told;
use crate::wire::call::Caller;
use crate::wire::download::Came;
use crate::wire::sse::offset_of;

/// Events of a page.
const LIMIT: u64 = 170;
/// How long a page waits at the tail.
const WAIT_MS: u64 = 300;

pub(super) struct Pages;

impl Transport for Pages {
    fn name(&self) -> &'static str {
        "pages"
    }

    fn open(&self, ask: &Ask<'_>) -> Result<Option<Box<dyn Session>>> {
        let (run, after) = ask.runs[0];
        let Ok(caller) = Caller::connect(ask.address) else { return Ok(None) };
        let path =
            format!("/v1/runs/{run}/events?limit={LIMIT}&wait={WAIT_MS}{}", ask.view.query());
        Ok(Some(Box::new(Turning { caller, path, after })))
    }
}

struct Turning {
    caller: Caller,
    path: String,
    after: u64,
}

impl Session for Turning {
    fn hear(&mut self, _: usize, tell: &mut dyn FnMut(usize, Told)) -> Result<Came> {
        let path = format!("{}&after={}", self.path, self.after);
        let Ok(answer) = self.caller.get(&path) else { return Ok(Came::Cut) };
        if matches!(answer.status, 404 | 503) {
            return Ok(Came::Cut);
        }
        ensure!(answer.status == 200, "GET {path} was answered {}", answer.status);
        let mut page: Value = serde_json::from_slice(&answer.body)?;
        ensure!(page.get("gap").is_none(), "GET {path} has the gap {}", page["gap"]);
        let next = page["next"].as_str().and_then(|next| offset_of(next.as_bytes()));
        let next = next.context("a page does not say where the next one begins")?;
        let events = page["events"].as_array_mut().context("a page has no events")?;
        let is_empty = events.is_empty();
        for event in events {
            tell(0, Told::of(event)?);
        }
        tell(0, Told::Moved(next));
        let is_last =
            next == page["last"].as_u64().context("a page does not say how far the run is")?;
        self.after = next;
        if page["closed"] == true && is_empty && is_last {
            tell(0, Told::End(Some(next)));
            return Ok(Came::End);
        }
        Ok(Came::Some)
    }
}
