//! NDJSON of one run: all that there is, one event a line.

use anyhow::Result;

use super::{Ask, Session, Transport, download};
use crate::stress::passage::Told;
use crate::wire::download::{Came, Download};
use crate::wire::lines::Lines;

pub(super) struct Export;

impl Transport for Export {
    fn name(&self) -> &'static str {
        "lines"
    }

    fn open(&self, ask: &Ask<'_>) -> Result<Option<Box<dyn Session>>> {
        let (run, after) = ask.runs[0];
        let path = format!("/v1/runs/{run}/events?after={after}{}", ask.view.query());
        let download = download(ask, &path, "Accept: application/x-ndjson\r\n")?;
        // Nothing was appended to the run yet.
        let download = download.filter(|download| download.status() == 200);
        let has_ended = ask.has_ended;
        let exporting = |download| Exporting { download, lines: Lines::default(), has_ended };
        Ok(download.map(|download| Box::new(exporting(download)) as Box<dyn Session>))
    }
}

struct Exporting {
    download: Download,
    lines: Lines,
    /// Whether there is nothing to come behind this answer.
    has_ended: bool,
}

impl Session for Exporting {
    fn hear(&mut self, most: usize, tell: &mut dyn FnMut(usize, Told)) -> Result<Came> {
        let Self { download, lines, has_ended } = self;
        let mut read = Ok(());
        let came = download.read(most, |piece| {
            let taken = lines.take(piece, |line| match Told::event(line) {
                Ok(told) => tell(0, told),
                Err(error) => read = Err(error),
            });
            if let Err(error) = taken {
                read = Err(error.into());
            }
        })?;
        read?;
        if came == Came::End && *has_ended {
            tell(0, Told::End(None));
        }
        Ok(came)
    }
}
