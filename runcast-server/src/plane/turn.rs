//! What a shard does for a connection and its readers: when the socket speaks, when a run changes,
//! when a page comes, when the clock ticks.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use mio::event::Event;
use runcast_event::RunId;
use runcast_hub::Look;
use runcast_log::{Page, ReadError};

use super::inbox::Message;
use super::link::{Kind, Phase};
use super::outbox::{Place, Progress, Taken};
use super::pages::{Ask, Asked, PageKey, Wanted};
use super::reader::{Reader, ReaderKey, Stage};
use super::shard::{Chore, Shard};
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
            Message::Placed(key, arrival, result) => self.placed(key, &arrival, result),
            Message::Page(key, page) => {
                self.on_page(key, page);
                while let Some((key, run)) = self.pages.next_in_queue() {
                    self.read(key, run);
                }
            }
            Message::Published(published) => self.published(*published),
            Message::Drain => self.drain(),
            Message::Stop => {}
        }
    }

    pub(super) fn on_socket(&mut self, event: &Event) {
        let at = event.token().0;
        let Some(link) = self.links.get_mut(at) else { return };
        if event.is_error() {
            let error = link.socket().take_error().ok().flatten();
            return match error.filter(|_| link.is_full) {
                Some(error) => self.broke(at, &error),
                None => self.let_go(at),
            };
        }
        let has_sent = event.is_readable() || event.is_read_closed();
        if let (Phase::Open, Some(dialogue)) = (link.phase, link.dialogue()) {
            // What a client said before it closed still counts.
            dialogue.has_more |= has_sent;
            if has_sent {
                self.listen(at);
            }
        } else if event.is_read_closed() || (event.is_readable() && !link.discard()) {
            return self.let_go(at);
        }
        if event.is_writable() {
            self.on_room(at);
        }
    }

    /// Goes on with a connection whose socket was full and may take more now.
    fn on_room(&mut self, at: usize) {
        let Some(link) = self.links.get(at).filter(|link| link.is_full) else { return };
        match (&link.kind, link.phase) {
            (_, Phase::Lingering | Phase::Gone) => {}
            (Kind::Events { reader: Some(reader) }, Phase::Open) => {
                let reader = *reader;
                if self.readers.get(reader).is_some_and(|reader| reader.stage == Stage::Flowing) {
                    self.flow(reader, &mut Waves::default());
                }
            }
            (_, Phase::Open | Phase::Ending) => {
                self.flush(at);
            }
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

    /// Gives a reader what there is for it in memory, or has it read from the log.
    pub(super) fn advance(&mut self, at: usize, waves: &mut Waves) {
        let Some(reader) = self.readers.get(at).filter(|reader| reader.stage == Stage::Flowing)
        else {
            return;
        };
        let link = self.links.get(reader.link);
        if link.is_some_and(|link| !link.is_full && link.phase == Phase::Open) {
            self.flow(at, waves);
        }
    }

    fn flow(&mut self, at: usize, waves: &mut Waves) {
        let Some(Reader { membership: Some(membership), place, deletions, .. }) =
            self.readers.get(at)
        else {
            return;
        };
        let (watch, shape) = (self.runs.watch(*membership), self.runs.shape(*membership));
        let look = || Wave::look(watch, shape, (*place, *deletions));
        let wave = waves.at((place.next, *deletions), look);
        self.offer(at, &wave.parts, wave.then);
    }

    /// Offers a reader's bytes to its socket; when that took all of them, goes on as it is said.
    fn offer(&mut self, at: usize, parts: &[Part], then: Then) {
        let now = self.wheel.now();
        let Some(reader) = self.readers.get_mut(at) else { return };
        let Some(link) = self.links.get_mut(reader.link) else { return };
        let (before, was_full) = (reader.place.next, link.is_full);
        let tally = self.tally.of(link.transport());
        let progress = match link.send(parts, &mut reader.place, now) {
            Ok(Taken { progress, bytes, parts }) => {
                tally.bytes += bytes as u64;
                tally.deliveries += parts as u64;
                progress
            }
            Err(error) => {
                let link = reader.link;
                return self.broke(link, &error);
            }
        };
        tally.events += reader.place.next.get().saturating_sub(before.get());
        tally.stalls += u64::from(progress != Progress::Sent);
        if was_full && progress == Progress::Sent {
            self.agenda.push_back(Chore::GoOn(reader.link));
        }
        match (progress, then) {
            (Progress::Sent, Then::Wait) => reader.is_behind = false,
            (Progress::Sent, Then::More) => self.agenda.push_back(Chore::Advance(at)),
            (Progress::Sent, Then::Read) => self.read_page(at, Wanted::Events),
            (Progress::Sent, Then::ReadEnd) => self.read_page(at, Wanted::End),
            (Progress::Sent, Then::Fail) => self.fail(at),
            (Progress::Sent | Progress::Kept, Then::Close) => self.end_of_run(at, progress),
            // When the socket takes more, it is looked again what comes next.
            (Progress::Kept | Progress::Full, _) => {}
        }
    }

    /// A reader has got its run's last frame, or will when its socket takes it.
    fn end_of_run(&mut self, at: usize, progress: Progress) {
        let link = self.readers[at].link;
        if self.is_subscription(at) {
            self.end_subscription(at);
        } else if progress == Progress::Sent {
            self.finish(link);
        } else {
            self.links[link].phase = Phase::Ending;
        }
    }

    /// Whoever waited for a socket that was full goes on: on a WebSocket that may be several, and
    /// only the first of them is there when it is found to have room.
    pub(super) fn go_on_with(&mut self, at: usize) {
        if self.links.get(at).is_some_and(|link| matches!(link.kind, Kind::WebSocket(_))) {
            self.listen(at);
            self.flow_on(at);
        }
    }

    /// Writes what a connection has to say. False if its socket does not take all of it.
    pub(super) fn flush(&mut self, at: usize) -> bool {
        let now = self.wheel.now();
        let Some(link) = self.links.get_mut(at) else { return false };
        let was_full = link.is_full;
        let tally = self.tally.of(link.transport());
        match link.send(&[], &mut Place::START.clone(), now) {
            Ok(Taken { progress, bytes, .. }) => {
                tally.bytes += bytes as u64;
                tally.stalls += u64::from(progress != Progress::Sent);
                if was_full && progress == Progress::Sent {
                    self.agenda.push_back(Chore::GoOn(at));
                }
                if progress == Progress::Sent && link.phase == Phase::Ending {
                    self.finish(at);
                }
                progress == Progress::Sent
            }
            Err(error) => {
                self.broke(at, &error);
                false
            }
        }
    }

    /// A write failed, and with TCP none works after it.
    fn broke(&mut self, at: usize, error: &std::io::Error) {
        let (runs, cursors) = self.standing(at);
        tracing::debug!(runs, cursors, %error, "a viewer could not be written to and was let go");
        if let Some(link) = self.links.get(at) {
            self.counts.broke(link.transport());
        }
        self.let_go(at);
    }

    fn read_page(&mut self, at: usize, wanted: Wanted) {
        let Some(reader) = self.readers.get_mut(at) else { return };
        let Some(membership) = reader.membership else { return };
        let asks = ReaderKey { at, serial: reader.serial };
        let (next, deletions) = (reader.place.next, reader.deletions);
        let group = self.runs.serial(membership);
        let key = PageKey { group, next, deletions, wanted };
        reader.stage = Stage::Reading;
        if wanted == Wanted::Events && !reader.is_behind {
            reader.is_behind = true;
            self.runs.watch(membership).falls_behind(next);
        }
        if let Some(wave) = self.pages.recent(&key) {
            self.serve_page(asks, &wave);
            return;
        }
        let run = self.runs.watch(membership).run().clone();
        if self.pages.ask(key, (&run, self.runs.shape(membership)), asks) == Ask::Read {
            self.read(key, run);
        }
    }

    fn read(&mut self, key: PageKey, run: RunId) {
        let hub = self.hub.clone();
        let (after, limit) = key.span();
        let mut page = Box::pin(async move { hub.read_patiently(&run, after, limit).await });
        match at_once(page.as_mut()) {
            Some(page) => self.on_page(key, page),
            None => {
                let inbox = Arc::clone(&self.inbox);
                self.runtime.spawn(async move { inbox.send(Message::Page(key, page.await)) });
            }
        }
    }

    fn on_page(&mut self, key: PageKey, page: Result<Page, ReadError>) {
        let Some(Asked { run, shape, readers }) = self.pages.came(&key) else { return };
        let epoch = readers.iter().find_map(|reader| self.reader(*reader).map(|r| r.place.epoch));
        // Without an epoch there is no reader any more.
        let Some(epoch) = epoch else { return };
        if let Some(gap) = key.gap(epoch, &page) {
            self.counts.told_gap(gap.reason, readers.len());
        }
        match key.wave((&run, &shape), epoch, page) {
            Ok(wave) => {
                let wave = Arc::new(wave);
                if !wave.parts.is_empty() {
                    self.pages.keep(key, &wave);
                }
                readers.into_iter().for_each(|reader| self.serve_page(reader, &wave));
            }
            Err(error) => {
                tracing::error!(%run, %error, "viewers cannot be served");
                for reader in readers {
                    if self.reader(reader).is_some() {
                        self.fail(reader.at);
                    }
                }
            }
        }
    }

    /// Lets go of a reader whose run cannot be read: it may come again with its cursor.
    fn fail(&mut self, at: usize) {
        let Some(link) = self.readers.get(at).map(|reader| reader.link) else { return };
        if self.is_subscription(at) {
            self.fail_subscription(at);
        } else {
            self.let_go(link);
        }
    }

    fn serve_page(&mut self, key: ReaderKey, wave: &Wave) {
        let Some(reader) = self.reader(key).filter(|reader| reader.stage == Stage::Reading) else {
            return;
        };
        reader.stage = Stage::Flowing;
        let (next, deletions, link) = (reader.place.next, reader.deletions, reader.link);
        let Some(membership) = reader.membership else { return };
        if self.links.get(link).is_none_or(|link| link.phase != Phase::Open) {
            return;
        }
        let look = self.runs.watch(membership).look(next, deletions);
        if matches!(look, Look::Deleted | Look::Lost) {
            self.agenda.push_back(Chore::Advance(key.at));
        } else {
            self.offer(key.at, &wave.parts, wave.then);
        }
    }

    /// Sends everyone away, to come back when the server is there again.
    fn drain(&mut self) {
        self.is_draining = true;
        let all: Vec<_> = self.links.iter().map(|(at, link)| (at, link.phase)).collect();
        for (at, phase) in all {
            match phase {
                Phase::Lingering => self.let_go(at),
                Phase::Open => self.send_link_away(at),
                Phase::Ending | Phase::Gone => {}
            }
        }
    }

    /// Sends whoever is on a connection away.
    pub(super) fn send_link_away(&mut self, at: usize) {
        match self.links[at].kind {
            Kind::WebSocket(_) => self.send_away(at),
            Kind::Events { reader } => self.send_reader_away(at, reader),
        }
    }

    fn send_reader_away(&mut self, at: usize, reader: Option<usize>) {
        let is_placing =
            |reader| self.readers.get(reader).is_none_or(|r| r.stage == Stage::Placing);
        let Some(reader) = reader.filter(|reader| !is_placing(*reader)) else {
            return self.let_go(at);
        };
        let passed = self.passed(reader).unwrap_or_default();
        let retry = sse::retry(self.reconnect_after());
        let link = &mut self.links[at];
        link.say([passed, retry].concat().into());
        link.phase = Phase::Ending;
        if !link.is_full {
            self.flush(at);
        }
    }

    /// Everything was sent: the client is to close.
    fn finish(&mut self, at: usize) {
        self.end_readers(at);
        let link = &mut self.links[at];
        // A client may be sending on a WebSocket, and would not read the end of one that is cut.
        let is_over = self.is_draining && matches!(link.kind, Kind::Events { .. });
        if !link.linger() || !link.discard() || is_over {
            return self.let_go(at);
        }
        link.due = self.wheel.insert(at, self.wheel.now().plus(self.clock.linger));
    }

    /// Closes a connection at the end of the turn.
    pub(super) fn let_go(&mut self, at: usize) {
        if let Some(link) = self.links.get_mut(at).filter(|link| link.phase != Phase::Gone) {
            link.phase = Phase::Gone;
            self.gone.push(at);
            self.end_readers(at);
        }
    }

    /// Looks after a connection whose time has come.
    pub(super) fn look_after(&mut self, at: usize) {
        let now = self.wheel.now();
        if self.links.get(at).is_none_or(|link| link.due != now) {
            return;
        }
        // Not every socket that has room again says so: not when it was the system that had none.
        self.on_room(at);
        let Some(link) = self.links.get(at) else { return };
        let quiet = now.since(link.took_at);
        match link.phase {
            Phase::Gone => return,
            Phase::Lingering => return self.let_go(at),
            Phase::Open | Phase::Ending if link.is_full && quiet >= self.clock.stalled => {
                return self.give_up(at, quiet);
            }
            Phase::Open if !link.is_full => match link.kind {
                Kind::WebSocket(_) => self.beat(at),
                Kind::Events { reader: Some(reader) } if quiet >= self.clock.heartbeat => {
                    self.comment(at, reader);
                }
                Kind::Events { .. } => {}
            },
            Phase::Open | Phase::Ending => {}
        }
        let clock = &self.clock;
        let Some(link) = self.links.get_mut(at).filter(|link| link.due == now) else { return };
        let due = match &link.kind {
            _ if link.is_full => link.took_at.plus(clock.stalled),
            Kind::WebSocket(dialogue) => dialogue.beat_at,
            Kind::Events { .. } => link.took_at.plus(clock.heartbeat),
        };
        let due = due.min(now.plus(clock.heartbeat)).min(now.plus(clock.stalled));
        link.due = self.wheel.insert(at, due);
    }

    fn give_up(&mut self, at: usize, quiet: u32) {
        let (runs, cursors) = self.standing(at);
        let seconds = self.clock.length(quiet).as_secs_f64();
        tracing::warn!(runs, cursors, seconds, "a viewer took nothing and was disconnected");
        self.counts.gave_up(self.links[at].transport());
        self.let_go(at);
    }

    /// Says that a stream is open, and up to where, if the reader cannot know that.
    fn comment(&mut self, at: usize, reader: usize) {
        if self.readers.get(reader).is_some_and(|reader| reader.stage == Stage::Flowing) {
            let is_away = self.hub.is_away();
            let passed = self.passed(reader);
            let is_silent = passed.is_none();
            if let Some(passed) = passed {
                self.links[at].say(passed);
            }
            // Last: whatever comes behind it says that it is over.
            if is_silent || is_away {
                self.links[at].say(sse::heartbeat(is_away));
            }
            self.flush(at);
        }
    }

    /// Moves a reader who chooses behind what it has passed over since it was told so last.
    pub(super) fn passed(&mut self, at: usize) -> Option<Bytes> {
        let reader = self.readers.get_mut(at)?;
        let (membership, cursor) = (reader.membership?, reader.place.cursor());
        let shape = self.runs.shape(membership);
        if shape.view.is_plain() || reader.stage == Stage::Placing || reader.told == cursor {
            return None;
        }
        reader.told = cursor;
        Some(shape.passed(self.runs.watch(membership).run(), cursor))
    }
}
