//! Server-sent events of one run.

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
        if self.is_named { "named SSE" } else { "SSE" }
    }

    fn open(&self, ask: &Ask<'_>) -> Result<Option<Box<dyn Session>>> {
        let (run, after) = ask.runs[0];
        let named = if self.is_named { "&named=1" } else { "" };
        let path = format!("/v1/runs/{run}/events?after={after}{}{named}", ask.view.query());
        let Some(download) = download(ask, &path, "Accept: text/event-stream\r\n")? else {
            return Ok(None);
        };
        if download.status() == 204 {
            return Ok(Some(Box::new(Ended)));
        }
        let frames = Frames { is_named: self.is_named, frame: Frame::default(), has_ended: false };
        Ok(Some(Box::new(Following { download, lines: Lines::default(), frames })))
    }
}

struct Following {
    download: Download,
    lines: Lines,
    frames: Frames,
}

impl Session for Following {
    fn hear(&mut self, most: usize, tell: &mut dyn FnMut(usize, Told)) -> Result<Came> {
        let Self { download, lines, frames } = self;
        let mut read = Ok(());
        let came = download.read(most, |piece| {
            let taken = lines.take(piece, |line| {
                if read.is_ok() {
                    read = frames.line(line, &mut |told| tell(0, told));
                }
            });
            if let Err(error) = taken {
                read = Err(error.into());
            }
        })?;
        read.map(|()| came)
    }
}

/// The lines of a stream, as frames.
pub(super) struct Frames {
    is_named: bool,
    frame: Frame,
    has_ended: bool,
}

#[derive(Default)]
struct Frame {
    id: Option<u64>,
    event: Option<String>,
    data: Option<Vec<u8>>,
}

impl Frames {
    /// Takes a line, and tells what it completes.
    fn line(&mut self, line: &[u8], tell: &mut impl FnMut(Told)) -> Result<()> {
        ensure!(!self.has_ended || line.is_empty(), "something came behind the end");
        if line.is_empty() {
            return self.finish(tell);
        }
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(colon + 1..).unwrap_or(b"").trim_ascii_start();
        let first = match &line[..colon] {
            b"" | b"retry" => true,
            b"id" => {
                let id = offset_of(value).context("an id is no cursor")?;
                self.frame.id.replace(id).is_none()
            }
            b"event" => {
                let name = String::from_utf8(value.to_vec())?;
                self.frame.event.replace(name).is_none()
            }
            b"data" => self.frame.data.replace(value.to_vec()).is_none(),
            _ => bail!("{:?} is no line of a frame", String::from_utf8_lossy(line)),
        };
        ensure!(first, "{:?} is there twice in a frame", String::from_utf8_lossy(line));
        Ok(())
    }

    fn finish(&mut self, tell: &mut impl FnMut(Told)) -> Result<()> {
        let Frame { id, event, data } = std::mem::take(&mut self.frame);
        match (id, event, data) {
            (None, None, None) => {}
            (Some(id), None, None) => tell(Told::Moved(id)),
            (Some(id), name, Some(data)) => {
                let mut json: Value = serde_json::from_slice(&data)?;
                let kind = json["type"].as_str().map(ToOwned::to_owned);
                let expected = kind.filter(|_| self.is_named);
                ensure!(name == expected, "a frame is named {name:?}, and not {expected:?}");
                let told = Told::of(&mut json)?;
                ensure!(told.cursor() == Some(id), "the id {id} is not that of {told:?}");
                tell(told);
            }
            (None, Some(name), Some(data)) if name == "end" => {
                let end: Value = serde_json::from_slice(&data)?;
                ensure!(end["type"] == "run.completed", "the end is {end}");
                self.has_ended = true;
                tell(Told::End(Some(end["offset"].as_u64().context("an end without an offset")?)));
            }
            (id, name, data) => {
                let data = data.as_deref().map(String::from_utf8_lossy);
                bail!("a frame with the id {id:?}, the name {name:?} and the data {data:?}");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(is_named: bool, text: &str) -> Result<Vec<Told>> {
        let mut frames = Frames { is_named, frame: Frame::default(), has_ended: false };
        let mut told = Vec::new();
        for line in text.lines() {
            frames.line(line.as_bytes(), &mut |heard| told.push(heard))?;
        }
        Ok(told)
    }

    #[test]
    fn frames_are_events_moves_and_the_end() {
        let text = ":\n\nid: 1\ndata: {\"offset\":1,\"type\":\"a.b\"}\n\nid: 2.9\n\n\
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
