//! Reads the feed in pages: one page, a page that waits, or everything up to now.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use runcast_event::{Cursor, Epoch, Offset, RunId, limits};
use runcast_hub::{Delivery, Gap, GapReason, Hub, Resume, resume};
use runcast_log::{ReadError, ReadLimit, Record, StreamStat};
use tokio::time::Instant;

use crate::accept::Phase;
use crate::api::{Query, Services, json};
use crate::feed::FeedFilter;
use crate::problem::Problem;
use crate::transport::page::{PageWriter, gap_line, write_lines};

/// Entries in one page at most.
const PAGE_MAX: u64 = 1_000;
/// Entries in one page if the request says nothing.
const PAGE_DEFAULT: u64 = 100;
/// Bytes of entries in one page.
const PAGE_BYTES_MAX: usize = limits::BATCH_BYTES_MAX;
/// How long an empty page can wait, in milliseconds.
const WAIT_MAX_MS: u64 = 60_000;
/// How much is read at a time.
const STEP: ReadLimit = ReadLimit { events_max: 1_000, bytes_max: 256 * 1024 };

/// Answers with a page, which waits for an entry if it is empty and the request says so.
pub(super) async fn page(
    services: &Services,
    mut cursor: Cursor,
    filter: FeedFilter,
    query: &Query<'_>,
) -> Result<Response, Problem> {
    let limit = query.number("limit", 1..=PAGE_MAX)?.unwrap_or(PAGE_DEFAULT) as usize;
    let wait = query.number("wait", 0..=WAIT_MAX_MS)?.unwrap_or(0);
    let deadline = Instant::now() + Duration::from_millis(wait);
    let scan_max = services.limits.scan_events_max;
    let mut gap = None;
    loop {
        let stat = stat(&services.hub).await?;
        let resumed = resume(cursor, &stat)?;
        gap = gap.or(resumed.gap);
        let mut page = PageWriter::of_feed(stat.epoch);
        let mut reader = Reader { hub: &services.hub, after: resumed.after, last: stat.last };
        let mut scanned = 0;
        let mut is_full = false;
        while !is_full && scanned < scan_max {
            let records = match reader.step(stat.epoch).await? {
                Stretch::Entries(records) => records,
                // A page tells of one gap, which is before its entries.
                Stretch::Missing(_) if gap.is_some() || page.events() > 0 => break,
                Stretch::Missing(missing) => {
                    reader.after = missing.to;
                    gap = Some(missing);
                    continue;
                }
            };
            let Some(newest) = records.last() else { break };
            scanned += records.len();
            for entry in filter.choose(&records) {
                page.push(&entry);
                reader.after = entry.offset;
                is_full = page.events() == limit || page.bytes() >= PAGE_BYTES_MAX;
                if is_full {
                    break;
                }
            }
            if !is_full {
                reader.after = newest.offset;
            }
            // A long search lets others have the thread between its steps.
            tokio::task::yield_now().await;
        }
        cursor = Cursor::new(stat.epoch, reader.after);
        let is_answer = gap.is_some() || page.events() > 0 || scanned >= scan_max;
        if is_answer || Instant::now() >= deadline || !changed(services, cursor, deadline).await? {
            return Ok(json(page.finish(cursor, &stat, gap.as_ref())));
        }
    }
}

/// Waits until there is something behind the cursor. False when the time is up.
async fn changed(services: &Services, cursor: Cursor, deadline: Instant) -> Result<bool, Problem> {
    let mut follower = services.hub.follow(&RunId::feed(), cursor).await?;
    let mut phase = services.phase.clone();
    tokio::select! {
        delivery = follower.next() => match delivery {
            Delivery::Failed { reason } => Err(ReadError::Failed { reason }.into()),
            _ => Ok(true),
        },
        () = tokio::time::sleep_until(deadline) => Ok(false),
        () = phase.reached(Phase::Draining) => Ok(false),
    }
}

/// How the feed stands; before its first entry it is empty.
async fn stat(hub: &Hub) -> Result<StreamStat, Problem> {
    let empty = || StreamStat {
        first: Offset::START.next(),
        last: Offset::START,
        closed: false,
        epoch: Epoch::FIRST,
        epoch_bases: Default::default(),
    };
    Ok(hub.stat(&RunId::feed()).await?.unwrap_or_else(empty))
}

/// Reads up to the entry that was the last when it began.
struct Reader<'a> {
    hub: &'a Hub,
    after: Offset,
    last: Offset,
}

/// What is read next.
enum Stretch {
    Entries(Vec<Record>),
    Missing(Gap),
}

impl Reader<'_> {
    async fn step(&self, epoch: Epoch) -> Result<Stretch, Problem> {
        if self.after >= self.last {
            return Ok(Stretch::Entries(Vec::new()));
        }
        let (to, reason) = match self.hub.read(&RunId::feed(), self.after, STEP).await {
            Err(ReadError::Damaged { last, .. }) => (last, GapReason::Damaged),
            // Meanwhile.
            Err(ReadError::Trimmed { first }) => (Offset::new(first.get() - 1), GapReason::Trimmed),
            page => {
                let mut page = page?;
                page.records.retain(|record| record.offset <= self.last);
                return Ok(Stretch::Entries(page.records));
            }
        };
        let (from, to) = (self.after.next(), to.min(self.last));
        Ok(Stretch::Missing(Gap { from, to, reason, epoch }))
    }
}

/// Answers with all entries up to now, one a line, read as the client takes them.
pub(super) async fn lines(
    services: &Services,
    cursor: Cursor,
    filter: FeedFilter,
) -> Result<Response, Problem> {
    let hub = services.hub.clone();
    let stat = stat(&hub).await?;
    let Resume { gap, after } = resume(cursor, &stat)?;
    let export = Export { hub, epoch: stat.epoch, after, last: stat.last, gap, filter };
    let parts = stream::unfold(Some(export), |export| async move {
        let mut export = export?;
        match export.next_part().await {
            Ok(None) => None,
            Ok(Some(part)) => Some((Ok(part), Some(export))),
            // Breaks the response off, so that the client knows that it is not whole.
            Err(problem) => Some((Err(std::io::Error::other(format!("{problem:?}"))), None)),
        }
    });
    let mut response = Response::new(Body::from_stream(parts));
    let media_type = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    Ok(response)
}

/// All entries up to one, a part at a time.
struct Export {
    hub: Hub,
    epoch: Epoch,
    after: Offset,
    last: Offset,
    gap: Option<Gap>,
    filter: FeedFilter,
}

impl Export {
    async fn next_part(&mut self) -> Result<Option<Bytes>, Problem> {
        if let Some(gap) = self.gap.take() {
            return Ok(Some(gap_line(&gap)));
        }
        let reader = Reader { hub: &self.hub, after: self.after, last: self.last };
        let records = match reader.step(self.epoch).await? {
            Stretch::Entries(records) => records,
            Stretch::Missing(gap) => {
                self.after = gap.to;
                return Ok(Some(gap_line(&gap)));
            }
        };
        let Some(newest) = records.last() else { return Ok(None) };
        self.after = newest.offset;
        let mut out = Vec::new();
        write_lines(&self.filter.choose(&records), &mut out);
        Ok(Some(out.into()))
    }
}
