//! The ways to read a run, as a reader of them sees it: one [`Transport`] each. A new way is one
//! more implementation and a line in [`ALL`].

mod export;
mod pages;
mod sse;
mod streams;
mod websocket;

use std::net::SocketAddrV4;

use anyhow::{Result, ensure};

use super::passage::Told;
use super::view::View;
use crate::wire::download::{Came, Download};

/// All ways.
pub(super) const ALL: [&dyn Transport; 6] = [
    &sse::PLAIN,
    &sse::NAMED,
    &pages::Pages,
    &export::Export,
    &streams::Streams,
    &websocket::WebSocket,
];

/// Those with these names, all when there are none.
pub(super) fn chosen(names: &[String]) -> Result<Vec<&'static dyn Transport>> {
    for name in names {
        let known: Vec<_> = ALL.iter().map(|transport| transport.name()).collect();
        ensure!(known.contains(&name.as_str()), "there is no transport {name:?}, but {known:?}");
    }
    let wanted = |transport: &&&dyn Transport| {
        names.is_empty() || names.iter().any(|name| name == transport.name())
    };
    Ok(ALL.iter().filter(wanted).copied().collect())
}

/// What a reader asks for.
pub(super) struct Ask<'a> {
    /// Where the server is.
    pub(super) address: SocketAddrV4,
    /// The runs, each with the cursor.
    pub(super) runs: Vec<(&'a str, u64)>,
    /// What of them.
    pub(super) view: View,
    /// How much the socket takes that was not read, in bytes.
    pub(super) room: Option<usize>,
    /// Whether all runs had ended when this was asked.
    pub(super) has_ended: bool,
}

/// A way to read runs.
pub(super) trait Transport: Sync {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// How many runs one connection can read.
    fn runs_max(&self) -> usize {
        1
    }

    /// Asks. None when the server is not there, or the run is not there yet; an error is a broken
    /// promise.
    fn open(&self, ask: &Ask<'_>) -> Result<Option<Box<dyn Session>>>;
}

/// One connection.
pub(super) trait Session {
    /// Reads for a moment, at most about `most` bytes, and tells what came of which of the runs that
    /// were asked for. An error is a broken promise.
    fn hear(&mut self, most: usize, tell: &mut dyn FnMut(usize, Told)) -> Result<Came>;
}

/// Asks and reads the head. None when the server is not there; a refusal is a broken promise, but
/// for a 404, which some calls may answer.
fn download(ask: &Ask<'_>, path: &str, headers: &str) -> Result<Option<Download>> {
    let Ok(download) = Download::open(ask.address, path, headers, ask.room) else {
        return Ok(None);
    };
    match download.status() {
        101 | 200 | 204 | 404 => Ok(Some(download)),
        // The server is just ending or beginning.
        503 => Ok(None),
        status => anyhow::bail!("GET {path} was answered {status}"),
    }
}

/// A session that has nothing to tell but the ends.
struct Ended {
    runs: usize,
}

impl Session for Ended {
    fn hear(&mut self, _: usize, tell: &mut dyn FnMut(usize, Told)) -> Result<Came> {
        (0..self.runs).for_each(|at| tell(at, Told::End(None)));
        Ok(Came::End)
    }
}
