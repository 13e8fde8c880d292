//! Server-sent events of one run, and what is the same for those of many.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{Ask, Ended, Session, Transport, download};
use crate::stress::passage::Told;
use crate::wire::download::{Came, Download};
use crate::wire::lines::Lines;
use crate::wire::sse::offset_of;

/// Without names of events.
pub(super) const PLAIN: Sse = Sse { is_named: false };
/// With them.
pub(super) const NAMED: Sse = Sse { is_named: true };

pub(super) struct Sse {
    is_named: bool,
}

impl Transport for Sse {
    fn name(&self) -> &'static str {
        if self.is_named { "sse-named" } else { "sse" }
    }

    fn open(&self, ask: &Ask<'_>) -> Result<Option<Box<dyn Session>>> {
        let (run, after) = ask.runs[0];
        let named = if self.is_named { "&named=1" } else { "" };
        let path = format!("/v1/runs/{run}/events?after={after}{}{named}", ask.view.query());
        follow(ask, &path, OneRun { is_named: self.is_named, has_ended: false })
    }
}

/// Asks for server-sent events, whose frames mean what `meaning` says.
pub(super) fn follow(
    ask: &Ask<'_>,
    path: &str,
    meaning: impl Meaning + 'static,
) -> Result<Option<Box<dyn Session>>> {
    let Some(download) = download(ask, path, "Accept: text/event-stream\r\n")? else {
        return Ok(None);
    };
    match download.status() {
        200 => {}
        204 => return Ok(Some(Box::new(Ended { runs: ask.runs.len() }))),
        status => bail!("GET {path} was answered {status}"),
    }
    let (lines, frame) = (Lines::default(), Frame::default());
    Ok(Some(Box::new(Following { download, lines, frame, meaning })))
}

/// What frames say.
pub(super) trait Meaning {
    fn read(&mut self, frame: Frame, tell: &mut dyn FnMut(usize, Told)) -> Result<()>;
}

/// One frame: what a blank line ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) id: Option<String>,
    pub(super) event: Option<String>,
    pub(super) data: Option<String>,
}

impl Frame {
    /// Takes a line; none of the three may be there twice.
    fn take(&mut self, line: &[u8]) -> Result<()> {
        let line = std::str::from_utf8(line)?;
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        let field = match name {
            "" | "retry" => return Ok(()),
            "id" => &mut self.id,
            "event" => &mut self.event,
            "data" => &mut self.data,
            _ => bail!("{line:?} is no line of a frame"),
        };
        ensure!(field.replace(value.to_owned()).is_none(), "{line:?} is there twice in a frame");
        Ok(())
    }
}

struct Following<M> {
    download: Download,
    lines: Lines,
    frame: Frame,
    meaning: M,
}

impl<M: Meaning> Session for Following<M> {
    fn hear(&mut self, most: usize, tell: &mut dyn FnMut(usize, Told)) -> Result<Came> {
        let Self { download, lines, frame, meaning } = self;
        let mut read = Ok(());
        let came = download.read(most, |piece| {
            let taken = lines.take(piece, |line| {
                if read.is_err() {
                } else if line.is_empty() {
                    read = meaning.read(std::mem::take(frame), tell);
                } else {
                    read = frame.take(line);
                }
            });
            if let Err(error) = taken {
                read = Err(error.into());
            }
        })?;
        read.map(|()| came)
    }
}

/// Checks that a frame is named as it should be, and gives its event.
pub(super) fn event_in(data: &str, name: Option<String>, is_named: bool) -> Result<Value> {
    let event: Value = serde_json::from_str(data)?;
    let kind = event["type"].as_str().map(ToOwned::to_owned);
    let expected = kind.filter(|_| is_named);
    ensure!(name == expected, "a frame is named {name:?}, and not {expected:?}");
    Ok(event)
}

struct OneRun {
    is_named: bool,
    has_ended: bool,
}

impl Meaning for OneRun {
    fn read(&mut self, frame: Frame, tell: &mut dyn FnMut(usize, Told)) -> Result<()> {
        if frame == Frame::default() {
            return Ok(());
        }
        ensure!(!self.has_ended, "{frame:?} came behind the end");
        let cursor = |id: &str| offset_of(id.as_bytes()).context("an id is no cursor");
        match (frame.id, frame.event, frame.data) {
            (Some(id), None, None) => tell(0, Told::Moved(cursor(&id)?)),
            (Some(id), name, Some(data)) => {
                let told = Told::of(&mut event_in(&data, name, self.is_named)?)?;
                ensure!(told.cursor() == Some(cursor(&id)?), "the id {id} is not that of {told:?}");
                tell(0, told);
            }
            (None, Some(name), Some(data)) if name == "end" => {
                let end: Value = serde_json::from_str(&data)?;
                ensure!(end["type"] == "run.completed", "the end is {end}");
                self.has_ended = true;
                let last = end["offset"].as_u64().context("an end without an offset")?;
                tell(0, Told::End(Some(last)));
            }
            other => bail!("the frame {other:?}"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(is_named: bool, text: &str) -> Result<Vec<Told>> {
        let mut meaning = OneRun { is_named, has_ended: false };
        let mut told = Vec::new();
        for frame_text in text.split_terminator("\n\n") {
            let mut frame = Frame::default();
            for line in frame_text.lines() {
                frame.take(line.as_bytes())?;
            }
            meaning.read(frame, &mut |_, heard| told.push(heard))?;
        }
        Ok(told)
    }

    #[test]
    fn frames_are_events_moves_and_the_end() {
        let text = ":\n\nid: 1\ndata: {\"offset\":1,\"type\":\"a.b\"}\n\n:\nid: 2.9\n\n\
            event: end\ndata: {\"offset\":9,\"type\":\"run.completed\"}\n\n";
        let told = read(false, text).unwrap();
        assert!(matches!(told[0], Told::Event { offset: 1, merged: 1, .. }));
        assert_eq!(told[1..], [Told::Moved(9), Told::End(Some(9))]);
    }

    #[test]
    fn what_no_server_may_send_is_refused() {
        for (is_named, text) in [
            (false, "id: 2\ndata: {\"offset\":1,\"type\":\"a.b\"}\n\n"),
            (false, "id: 1\nevent: a.b\ndata: {\"offset\":1,\"type\":\"a.b\"}\n\n"),
            (true, "id: 1\ndata: {\"offset\":1,\"type\":\"a.b\"}\n\n"),
            (false, "id: 1\ndata: {\"offset\":1,\ndata: \"type\":\"a.b\"}\n\n"),
            (false, "event: gap\ndata: {\"from\":1}\n\n"),
            (false, "garbage\n\n"),
        ] {
            assert!(read(is_named, text).is_err(), "{text}");
        }
    }
}
