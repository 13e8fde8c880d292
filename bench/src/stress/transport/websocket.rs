//! Many runs on one WebSocket.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::{Ask, Session, Transport, download};
use crate::stress::passage::Told;
use crate::wire::download::{Came, Download};
use crate::wire::sse::offset_of;
use crate::wire::websocket::{self, Message, Messages};

pub(super) struct WebSocket;

impl Transport for WebSocket {
    fn name(&self) -> &'static str {
        "websocket"
    }

    fn runs_max(&self) -> usize {
        usize::MAX
    }

    fn open(&self, ask: &Ask<'_>) -> Result<Option<Box<dyn Session>>> {
        let Some(mut download) = download(ask, websocket::PATH, websocket::UPGRADE)? else {
            return Ok(None);
        };
        ensure!(download.status() == 101, "the upgrade was answered {}", download.status());
        let runs = ask.runs.iter().map(|(run, after)| ((*run).to_owned(), *after, false));
        let runs: Vec<_> = runs.collect();
        for (run, after, _) in &runs {
            let subscribe = json!({"type": "subscribe", "run": run, "after": after.to_string(),
                "filter": ask.view.filter(), "coalesce": ask.view.coalesces});
            if download.send(&websocket::client_text(&subscribe.to_string())).is_err() {
                return Ok(None);
            }
        }
        let subscribed = Subscribed { runs, is_closed: false, pongs: Vec::new() };
        Ok(Some(Box::new(Open { download, messages: Messages::default(), subscribed })))
    }
}

struct Open {
    download: Download,
    messages: Messages,
    subscribed: Subscribed,
}

struct Subscribed {
    /// Each with its cursor, and whether it has ended.
    runs: Vec<(String, u64, bool)>,
    is_closed: bool,
    pongs: Vec<u8>,
}

impl Session for Open {
    fn hear(&mut self, most: usize, tell: &mut dyn FnMut(usize, Told)) -> Result<Came> {
        let Self { download, messages, subscribed } = self;
        let mut read = Ok(());
        let came = download.read(most, |piece| {
            let taken = messages.take(piece, |message| {
                if read.is_ok() {
                    read = subscribed.message(message, tell);
                }
            });
            if read.is_ok() {
                read = taken;
            }
        })?;
        read?;
        if !subscribed.pongs.is_empty() && download.send(&subscribed.pongs).is_err() {
            return Ok(Came::Cut);
        }
        subscribed.pongs.clear();
        if subscribed.runs.iter().all(|(_, _, has_ended)| *has_ended) {
            return Ok(Came::End);
        }
        Ok(if subscribed.is_closed || came == Came::End { Came::Cut } else { came })
    }
}

impl Subscribed {
    fn message(&mut self, message: Message<'_>, tell: &mut dyn FnMut(usize, Told)) -> Result<()> {
        match message {
            Message::Text(text) => {
                let text = std::str::from_utf8(text)?;
                self.text(serde_json::from_str(text)?, tell).with_context(|| text.to_owned())
            }
            Message::Ping(payload) => {
                self.pongs.extend(websocket::client_pong(payload));
                Ok(())
            }
            Message::Pong => bail!("nobody pinged"),
            Message::Close(code) => {
                self.is_closed = true;
                ensure!(matches!(code, 1006 | 1012 | 1013), "the server closed with {code}");
                Ok(())
            }
        }
    }

    fn text(&mut self, mut message: Value, tell: &mut dyn FnMut(usize, Told)) -> Result<()> {
        let run = message["run"].as_str().unwrap_or_default();
        let at = self.runs.iter().position(|(known, ..)| known == run);
        let at = at.context("a message of no run that was asked for")?;
        let (_, known, has_ended) = &mut self.runs[at];
        ensure!(!*has_ended, "something came behind the end");
        let cursor = message["cursor"].as_str().and_then(|cursor| offset_of(cursor.as_bytes()));
        let cursor = cursor.context("a message without a cursor")?;
        match message["type"].as_str().unwrap_or_default() {
            "subscribed" => ensure!(cursor == *known, "it is {known} that was asked for"),
            "events" => {
                let events = message["events"].as_array_mut().context("no events")?;
                ensure!(!events.is_empty(), "no events");
                for event in events {
                    let told = Told::of(event)?;
                    *known = told.cursor().unwrap_or_default();
                    tell(at, told);
                }
            }
            "cursor" | "end" => {}
            other => bail!("a message of the type {other:?}"),
        }
        if cursor != *known {
            *known = cursor;
            tell(at, Told::Moved(cursor));
        }
        if message["type"] == "end" {
            ensure!(message["event_type"] == "run.completed", "another end");
            *has_ended = true;
            tell(at, Told::End(message["offset"].as_u64()));
        }
        Ok(())
    }
}
