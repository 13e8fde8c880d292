//! What a shard does for a viewer: when its socket speaks, when its run changes, when a page comes,
//! when the clock ticks.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use mio::event::Event;
use runcast_event::{Cursor, Offset, RunId};
use runcast_hub::{GapReason, Look};
use runcast_log::{Page, ReadError};

use super::inbox::Message;
use super::outbox::{Progress, Taken};
use super::pages::{Ask, PageKey, Wanted};
use super::retry_ms;
use super::shard::Shard;
use super::viewer::{Stage, Viewer, ViewerKey};
use super::wave::{Part, Then, Wave, Waves};
use crate::transport::sse;

/// Polls a future once: what needs no waiting is there at once. Else the future must be polled on by
/// somebody else.
pub(super) fn at_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

impl Shard {
    pub(super) fn on_message(&mut self, message: Message) {
        match message {
            Message::Joins(newcomer) => self.join(*newcomer),
            Message::Placed(key, arrival, result) => self.placed(key, arrival, result),
            Message::Page(key, page) => {
                self.on_page(key, page);
                while let Some((key, run)) = self.pages.next_in_queue() {
                    self.read(key, run);
                }
            }
            Message::Drain => self.drain(),
            Message::Stop => {}
        }
    }

    pub(super) fn on_socket(&mut self, event: &Event) {
        let at = event.token().0;
        let Some(viewer) = self.viewers.get_mut(at) else { return };
        let is_gone = event.is_read_closed() || event.is_error();
        if is_gone || (event.is_readable() && !viewer.discard()) {
            self.let_go(at);
            return;
        }
        if event.is_writable() {
            self.on_room(at);
        }
    }

    /// Goes on with a viewer whose socket was full and may take more now.
    fn on_room(&mut self, at: usize) {
        let Some(viewer) = self.viewers.get(at).filter(|viewer| viewer.is_full) else { return };
        match viewer.stage {
            Stage::Flowing => self.flow(at, &mut Waves::default()),
            Stage::Ending => self.offer(at, &[], Then::Close),
            Stage::Placing | Stage::Reading | Stage::Lingering | Stage::Gone => {}
        }
    }

    /// Serves a run's readers after a change.
    pub(super) fn on_change(&mut self, run: usize) {
        for group in 0..self.runs.groups(run) {
            // Nobody joins or leaves while they are served.
            let readers = self.runs.take_readers(run, group);
            let mut waves = Waves::default();
            for at in &readers {
                self.advance(*at, &mut waves);
            }
            if let Some(committed_at) = waves.committed_at() {
                self.counts.delivered(committed_at, readers.len());
            }
            self.runs.put_back(run, group, readers);
        }
    }

    /// Gives a viewer what there is for it in memory, or has it read from the log.
    pub(super) fn advance(&mut self, at: usize, waves: &mut Waves) {
        let can_take = |viewer: &Viewer| !viewer.is_full && viewer.stage == Stage::Flowing;
        if self.viewers.get(at).is_some_and(can_take) {
            self.flow(at, waves);
        }
    }

    fn flow(&mut self, at: usize, waves: &mut Waves) {
        let Some(viewer) = self.viewers.get(at) else { return };
        let Some(membership) = viewer.membership else { return };
        let (watch, shape) = (self.runs.watch(membership), self.runs.shape(membership));
        let (epoch, next, deletions) = (viewer.outbox.epoch, viewer.outbox.next, viewer.deletions);
        let look = || Wave::look(watch, shape, (epoch, next, deletions));
        let wave = waves.at((next, deletions), look);
        self.offer(at, &wave.parts, wave.then);
    }

    /// Offers bytes to a viewer's socket; when it took all of them, goes on as it is said.
    pub(super) fn offer(&mut self, at: usize, parts: &[Part], then: Then) {
        let now = self.wheel.now();
        let Some(viewer) = self.viewers.get_mut(at) else { return };
        let before = viewer.outbox.next;
        let progress = match viewer.send(parts, now) {
            Ok(Taken { progress, bytes, parts }) => {
                self.tally.bytes += bytes as u64;
                self.tally.deliveries += parts as u64;
                progress
            }
            Err(error) => {
                tracing::debug!(%error, "a viewer is gone");
                self.counts.broke();
                self.let_go(at);
                return;
            }
        };
        self.tally.events += viewer.outbox.next.get().saturating_sub(before.get());
        self.tally.stalls += u64::from(progress != Progress::Sent);
        match (progress, then) {
            (Progress::Sent, Then::Wait) => viewer.is_behind = false,
            (Progress::Sent, Then::More) => self.agenda.push_back(at),
            (Progress::Sent, Then::Read) => self.read_page(at, Wanted::Events),
            (Progress::Sent, Then::ReadEnd) => self.read_page(at, Wanted::End),
            (Progress::Sent, Then::Close) => self.finish(at),
            (Progress::Kept, Then::Close) => viewer.stage = Stage::Ending,
            // When the socket takes more, it is looked again what comes next.
            (Progress::Kept | Progress::Full, _) => {}
        }
    }

    fn read_page(&mut self, at: usize, wanted: Wanted) {
        let Some(reader) = self.key_of(at) else { return };
        let Some(viewer) = self.viewers.get_mut(at) else { return };
        let Some(membership) = viewer.membership else { return };
        let (next, deletions) = (viewer.outbox.next, viewer.deletions);
        let group = self.runs.serial(membership);
        let key = PageKey { group, next, deletions, wanted };
        viewer.stage = Stage::Reading;
        if wanted == Wanted::Events && !viewer.is_behind {
            viewer.is_behind = true;
            self.runs.watch(membership).falls_behind(next);
        }
        if let Some(wave) = self.pages.recent(&key) {
            self.serve_page(reader, &wave);
            return;
        }
        let run = self.runs.watch(membership).run().clone();
        if self.pages.ask(key, (&run, self.runs.shape(membership)), reader) == Ask::Read {
            self.read(key, run);
        }
    }

    fn read(&mut self, key: PageKey, run: RunId) {
        let hub = self.hub.clone();
        let (after, limit) = key.span();
        let mut page = Box::pin(async move { hub.read(&run, after, limit).await });
        match at_once(page.as_mut()) {
            Some(page) => self.on_page(key, page),
            None => {
                let inbox = Arc::clone(&self.inbox);
                self.runtime.spawn(async move { inbox.send(Message::Page(key, page.await)) });
            }
        }
    }

    fn on_page(&mut self, key: PageKey, page: Result<Page, ReadError>) {
        let Some((shape, readers)) = self.pages.came(&key) else { return };
        let epoch = readers.iter().find_map(|reader| self.viewer(*reader).map(|v| v.outbox.epoch));
        if matches!(page, Err(ReadError::Trimmed { .. })) {
            self.counts.told_gap(GapReason::Trimmed, readers.len());
        }
        // Without an epoch there is no reader any more.
        let Some(epoch) = epoch else { return };
        match key.wave(&shape, epoch, page) {
            Ok(wave) => {
                let wave = Arc::new(wave);
                if !wave.parts.is_empty() {
                    self.pages.keep(key, &wave);
                }
                readers.into_iter().for_each(|reader| self.serve_page(reader, &wave));
            }
            Err(error) => {
                tracing::error!(%error, "viewers cannot be served");
                for reader in readers {
                    if self.viewer(reader).is_some() {
                        self.let_go(reader.at);
                    }
                }
            }
        }
    }

    fn serve_page(&mut self, reader: ViewerKey, wave: &Wave) {
        let Some(viewer) = self.viewer(reader).filter(|v| v.stage == Stage::Reading) else {
            return;
        };
        viewer.stage = Stage::Flowing;
        let (next, deletions, membership) =
            (viewer.outbox.next, viewer.deletions, viewer.membership);
        let Some(membership) = membership else { return };
        if matches!(self.runs.watch(membership).look(next, deletions), Look::Deleted) {
            self.agenda.push_back(reader.at);
        } else {
            self.offer(reader.at, &wave.parts, wave.then);
        }
    }

    /// Sends a viewer away, to come back when the server is there again.
    fn drain(&mut self) {
        self.is_draining = true;
        let all: Vec<_> = self.viewers.iter().map(|(at, viewer)| (at, viewer.stage)).collect();
        for (at, stage) in all {
            match stage {
                Stage::Placing | Stage::Lingering => self.let_go(at),
                Stage::Flowing | Stage::Reading => {
                    let passed = self.passed(at).unwrap_or_default();
                    let viewer = &mut self.viewers[at];
                    viewer.say([passed, sse::retry(retry_ms())].concat().into());
                    viewer.stage = Stage::Ending;
                    if !viewer.is_full {
                        self.offer(at, &[], Then::Close);
                    }
                }
                Stage::Ending | Stage::Gone => {}
            }
        }
    }

    /// Everything was sent: the client is to close.
    fn finish(&mut self, at: usize) {
        let viewer = &mut self.viewers[at];
        let is_open = viewer.linger() && viewer.discard();
        if !is_open || self.is_draining {
            self.let_go(at);
            return;
        }
        viewer.due = self.wheel.insert(at, self.wheel.now().plus(self.clock.linger));
        self.done.push(at);
    }

    /// Closes a viewer's connection at the end of the turn.
    pub(super) fn let_go(&mut self, at: usize) {
        if let Some(viewer) = self.viewers.get_mut(at) {
            viewer.stage = Stage::Gone;
            self.done.push(at);
        }
    }

    /// Looks after a viewer whose time has come.
    pub(super) fn look_after(&mut self, at: usize) {
        let now = self.wheel.now();
        if self.viewers.get(at).is_none_or(|viewer| viewer.due != now) {
            return;
        }
        // Not every socket that has room again says so: not when it was the system that had none.
        self.on_room(at);
        let Some(viewer) = self.viewers.get(at) else { return };
        let quiet = now.since(viewer.took_at);
        let is_waiting = match viewer.stage {
            Stage::Gone => return,
            Stage::Lingering => {
                self.let_go(at);
                return;
            }
            Stage::Flowing | Stage::Ending => viewer.is_full,
            Stage::Placing | Stage::Reading => false,
        };
        if is_waiting && quiet >= self.clock.stalled {
            let run = viewer.membership.map(|of| self.runs.watch(of).run().clone());
            let run = run.as_ref().map_or("", RunId::as_str);
            let last = Offset::new(viewer.outbox.next.get().saturating_sub(1));
            let cursor = Cursor::new(viewer.outbox.epoch, last);
            let seconds = self.clock.length(quiet).as_secs_f64();
            tracing::warn!(run, %cursor, seconds, "a viewer took nothing and was disconnected");
            self.counts.gave_up();
            self.let_go(at);
            return;
        }
        if viewer.stage == Stage::Flowing && !is_waiting && quiet >= self.clock.heartbeat {
            let (epoch, next) = (viewer.outbox.epoch, viewer.outbox.next);
            let part = Part { bytes: self.heartbeat(at), epoch, next };
            self.offer(at, &[part], Then::Wait);
        }
        let Some(viewer) = self.viewers.get_mut(at) else { return };
        let limit = if viewer.is_full { self.clock.stalled } else { self.clock.heartbeat };
        let due = viewer.took_at.plus(limit).min(now.plus(self.clock.heartbeat));
        viewer.due = self.wheel.insert(at, due.min(now.plus(self.clock.stalled)));
    }

    /// Says that the stream is open, and up to where, if the viewer cannot know that.
    fn heartbeat(&mut self, at: usize) -> Bytes {
        self.passed(at).unwrap_or(Bytes::from_static(sse::HEARTBEAT))
    }

    /// Moves the reader behind what it has passed over since it was told so last.
    fn passed(&mut self, at: usize) -> Option<Bytes> {
        let viewer = self.viewers.get_mut(at)?;
        if self.runs.shape(viewer.membership?).view.is_plain() || viewer.told == viewer.outbox.next
        {
            return None;
        }
        viewer.told = viewer.outbox.next;
        let last = Offset::new(viewer.outbox.next.get().saturating_sub(1));
        Some(sse::passed(Cursor::new(viewer.outbox.epoch, last)))
    }
}
