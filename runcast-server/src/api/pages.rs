//! Reads events in pages: one page, a page that waits, a search, or all pages one after the other.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use runcast_event::{Cursor, Epoch, Merged, Offset, RunId, TextFilter, limits};
use runcast_hub::{Delivery, FollowError, Gap, GapReason, Hub, resume};
use runcast_log::{Page, ReadError, ReadLimit, Record, StreamStat};
use tokio::time::Instant;

use super::parameters::Query;
use super::{Services, json};
use crate::accept::Phase;
use crate::metrics::{Metrics, Transport};
use crate::problem::{Code, Problem};
use crate::stored::count_of;
use crate::transport::page::{PageWriter, gap_line, write_lines};
use crate::transport::view::View;

/// Events in one page at most.
const PAGE_MAX: u64 = 1_000;
/// Events in one page if the request says nothing.
const PAGE_DEFAULT: u64 = 100;
/// Bytes of events in one page.
const PAGE_BYTES_MAX: usize = limits::BATCH_BYTES_MAX;
/// More than an offset adds to an event.
const OFFSET_BYTES: usize = 64;
/// How long an empty page can wait, in milliseconds.
const WAIT_MAX_MS: u64 = 60_000;
/// The longest text that can be searched for, in bytes.
const CONTAINS_BYTES_MAX: usize = 256;
/// How much is read at a time where more than a page is read.
const STEP: ReadLimit = ReadLimit { events_max: 1_000, bytes_max: 256 * 1024 };

/// Which events a page is to have.
struct Wanted {
    limit: usize,
    view: View,
    contains: Option<TextFilter>,
    scan_max: usize,
}

impl Wanted {
    fn parse(query: &Query<'_>, view: View, scan_max: usize) -> Result<Self, Problem> {
        let limit = query.number("limit", 1..=PAGE_MAX)?.unwrap_or(PAGE_DEFAULT) as usize;
        let contains = match query.text("contains") {
            None | Some("") => None,
            Some(text) if text.len() > CONTAINS_BYTES_MAX => {
                let detail = format!("is longer than {CONTAINS_BYTES_MAX} bytes");
                return Err(Problem::parameter("contains", detail));
            }
            Some(text) => Some(TextFilter::new(text)),
        };
        Ok(Self { limit, view, contains, scan_max })
    }

    /// Whether some events of the log are not events of the page.
    fn chooses(&self) -> bool {
        self.contains.is_some() || !self.view.is_plain()
    }

    /// Those of the records that the page is to have.
    fn of(&self, records: &[Record]) -> Vec<Merged> {
        let mut events = self.view.of(records);
        if let Some(text) = &self.contains {
            events.retain(|event| text.matches(&event.payload));
        }
        events
    }
}

/// Answers with a page, which waits for an event if it is empty and the request says so.
pub(super) async fn page(
    services: &Services,
    run: RunId,
    cursor: Option<Cursor>,
    view: View,
    query: &Query<'_>,
) -> Result<Response, Problem> {
    let wanted = Wanted::parse(query, view, services.limits.scan_events_max)?;
    let wait = query.number("wait", 0..=WAIT_MAX_MS)?.unwrap_or(0);
    let deadline = Instant::now() + Duration::from_millis(wait);
    let mut cursor = cursor.unwrap_or_default();
    let mut gap = None;
    loop {
        let found = match services.hub.stat(&run).await? {
            Some(stat) => Some(collect(&services.hub, &run, cursor, &wanted, stat).await?),
            None if cursor.after > Offset::START => {
                return Err(FollowError::OffsetInFuture { last: Offset::START }.into());
            }
            None => None,
        };
        if let Some(found) = &found {
            cursor = found.next;
            gap = gap.or(found.gap);
        }
        let is_answer = found.as_ref().is_some_and(|found| {
            gap.is_some() || found.page.events() > 0 || found.stat.closed || found.scan_ended
        });
        if is_answer
            || Instant::now() >= deadline
            || !changed(services, &run, cursor, deadline).await?
        {
            let Collected { page, next, stat, .. } = found.ok_or_else(Problem::not_found)?;
            services.metrics.of(Transport::Http).delivered(page.events() as u64, 1);
            gap.iter().for_each(|gap| services.metrics.told_gap(gap.reason));
            return Ok(json(page.finish(next, &stat, gap.as_ref())));
        }
    }
}

/// Waits until there is something behind the cursor. False when the time is up.
async fn changed(
    services: &Services,
    run: &RunId,
    cursor: Cursor,
    deadline: Instant,
) -> Result<bool, Problem> {
    let mut follower = services.hub.follow(run, cursor).await?;
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

/// A page before it is written out.
struct Collected {
    page: PageWriter,
    next: Cursor,
    stat: StreamStat,
    gap: Option<Gap>,
    /// Whether a search ended because it had looked at enough.
    scan_ended: bool,
}

async fn collect(
    hub: &Hub,
    run: &RunId,
    cursor: Cursor,
    wanted: &Wanted,
    mut stat: StreamStat,
) -> Result<Collected, Problem> {
    let resumed = resume(cursor, &stat)?;
    let mut page = PageWriter::new(run, stat.epoch);
    let (epoch, mut after, mut scanned, mut taken) = (stat.epoch, resumed.after, 0, 0);
    let (mut is_full, mut gap) = (false, resumed.gap);
    while !is_full && scanned < wanted.scan_max {
        let events_max = match wanted.chooses() {
            false => wanted.limit - taken,
            true => STEP.events_max.min(wanted.scan_max - scanned),
        };
        let limit = ReadLimit { events_max, bytes_max: STEP.bytes_max };
        let read = match read(hub, run, epoch, after, limit).await? {
            Stretch::Events(page) => page,
            // A page tells of one gap, which is before its events.
            Stretch::Missing(_) if gap.is_some() || page.events() > 0 => break,
            Stretch::Missing(missing) => {
                after = missing.to;
                gap = Some(missing);
                continue;
            }
        };
        stat = read.stat;
        let Some(newest) = read.records.last() else { break };
        scanned += count_of(&read.records) as usize;
        for event in wanted.of(&read.records) {
            let bytes = event.payload.bytes().len() + OFFSET_BYTES;
            let fits = page.bytes() + bytes <= PAGE_BYTES_MAX;
            is_full = taken == wanted.limit || (!fits && page.events() > 0);
            if is_full {
                break;
            }
            after = event.offset;
            // Who gets every event can count on so many offsets.
            taken += if wanted.chooses() { 1 } else { event.count as usize };
            page.push(&event);
        }
        if !is_full {
            after = newest.offset;
            is_full = taken == wanted.limit;
        }
        // A long search lets others have the thread between its steps.
        tokio::task::yield_now().await;
    }
    let scan_ended = wanted.chooses() && scanned >= wanted.scan_max;
    Ok(Collected { page, next: Cursor::new(epoch, after), stat, gap, scan_ended })
}

/// What a request reads next.
enum Stretch {
    Events(Page),
    Missing(Gap),
}

/// Reads on in the history that a request began in.
async fn read(
    hub: &Hub,
    run: &RunId,
    epoch: Epoch,
    after: Offset,
    limit: ReadLimit,
) -> Result<Stretch, Problem> {
    let (to, reason) = match hub.read(run, after, limit).await {
        Err(ReadError::Damaged { last, .. }) => (last, GapReason::Damaged),
        // Meanwhile.
        Err(ReadError::Trimmed { first }) => (Offset::new(first.get() - 1), GapReason::Trimmed),
        page => {
            let page = page?;
            if page.stat.epoch == epoch {
                return Ok(Stretch::Events(page));
            }
            // The run was deleted and made again while it was read: what was read is gone.
            return Err(Problem::new(Code::RunDeleted, "the run was deleted while it was read"));
        }
    };
    Ok(Stretch::Missing(Gap { from: after.next(), to, reason, epoch }))
}

/// Answers with all events up to now, one a line, read as the client takes them.
pub(super) async fn lines(
    services: &Services,
    run: RunId,
    cursor: Option<Cursor>,
    view: View,
) -> Result<Response, Problem> {
    let stat = services.hub.stat(&run).await?.ok_or_else(Problem::not_found)?;
    let resumed = resume(cursor.unwrap_or_default(), &stat)?;
    let export = Export {
        hub: services.hub.clone(),
        run,
        view,
        epoch: stat.epoch,
        after: resumed.after,
        last: stat.last,
        gap: resumed.gap,
        metrics: Arc::clone(&services.metrics),
    };
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

/// All events up to one, a part at a time.
struct Export {
    hub: Hub,
    run: RunId,
    view: View,
    epoch: Epoch,
    after: Offset,
    last: Offset,
    gap: Option<Gap>,
    metrics: Arc<Metrics>,
}

impl Export {
    async fn next_part(&mut self) -> Result<Option<Bytes>, Problem> {
        if let Some(gap) = self.gap.take() {
            return Ok(Some(self.tell(&gap)));
        }
        if self.after >= self.last {
            return Ok(None);
        }
        let mut page = match read(&self.hub, &self.run, self.epoch, self.after, STEP).await? {
            Stretch::Events(page) => page,
            Stretch::Missing(gap) => {
                let gap = Gap { to: gap.to.min(self.last), ..gap };
                self.after = gap.to;
                return Ok(Some(self.tell(&gap)));
            }
        };
        page.records.retain(|record| record.first() <= self.last);
        let Some(newest) = page.records.last() else { return Ok(None) };
        self.after = newest.offset;
        self.metrics.of(Transport::Http).delivered(count_of(&page.records), 1);
        let mut out = Vec::with_capacity(STEP.bytes_max);
        write_lines(&self.view.of(&page.records), &mut out);
        Ok(Some(out.into()))
    }

    fn tell(&self, gap: &Gap) -> Bytes {
        self.metrics.told_gap(gap.reason);
        gap_line(gap)
    }
}
