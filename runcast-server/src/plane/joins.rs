//! How a connection becomes a viewer: it is counted, gets its run and its place in it, and its
//! answer begins; or it is told why not.

use std::sync::Arc;

use axum::http::HeaderValue;
use bytes::Bytes;
use mio::net::TcpStream;
use mio::{Interest, Token};
use runcast_event::Cursor;
use runcast_hub::{FollowError, Look, Position};

use super::Newcomer;
use super::inbox::Message;
use super::shard::Shard;
use super::turn::at_once;
use super::viewer::{Stage, Viewer, ViewerKey};
use super::wave::{Then, Waves};
use crate::problem::Problem;
use crate::transport::{head, sse};

/// What is known of a viewer until it is placed.
pub(super) struct Arrival {
    cursor: Option<Cursor>,
    page: Option<HeaderValue>,
}

impl Shard {
    pub(super) fn join(&mut self, newcomer: Newcomer) {
        if self.is_draining {
            return;
        }
        let Newcomer { stream, request, page, seat } = newcomer;
        self.joined += 1;
        let entry = self.viewers.vacant_entry();
        let key = ViewerKey { at: entry.key(), serial: self.joined };
        let viewer = Viewer::new(TcpStream::from_std(stream), key.serial, seat, self.wheel.now());
        let viewer = entry.insert(viewer);
        viewer.due = self.wheel.insert(key.at, self.wheel.now().plus(self.clock.heartbeat));
        self.counts.joined();
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(viewer.socket(), Token(key.at), both) {
            tracing::warn!(%error, "a connection cannot be served");
            self.let_go(key.at);
            return;
        }
        let arrival = Arrival { cursor: request.cursor, page };
        match self.hub.admit() {
            Ok(place) => viewer.take_place(place),
            Err(error) => return self.refuse(key, &arrival, error),
        }
        let (membership, watch) = self.runs.join(&request.run, request.shape, key.at);
        viewer.membership = Some(membership);
        let cursor = request.cursor.unwrap_or_default();
        let mut position = Box::pin(async move { watch.position(cursor).await });
        match at_once(position.as_mut()) {
            Some(position) => self.placed(key, arrival, position),
            None => {
                let inbox = Arc::clone(&self.inbox);
                self.runtime.spawn(async move {
                    let position = position.await;
                    inbox.send(Message::Placed(key, arrival, position));
                });
            }
        }
    }

    pub(super) fn placed(
        &mut self,
        key: ViewerKey,
        arrival: Arrival,
        position: Result<Position, FollowError>,
    ) {
        match position {
            Ok(position) if self.has_seen_all(key, arrival.cursor, position) => {
                self.answer(key, head::no_content(arrival.page.as_ref()).into());
            }
            Ok(position) => self.begin(key, &arrival, position),
            Err(error) => self.refuse(key, &arrival, error),
        }
    }

    /// Whether the run has ended and the reader says that it has got all of it.
    fn has_seen_all(&mut self, key: ViewerKey, cursor: Option<Cursor>, at: Position) -> bool {
        let after = at.resume.after;
        if cursor != Some(Cursor::new(at.epoch, after)) || at.resume.gap.is_some() {
            return false;
        }
        let Some(membership) = self.viewer(key).and_then(|viewer| viewer.membership) else {
            return false;
        };
        matches!(self.runs.watch(membership).look(after.next(), at.deletions), Look::End)
    }

    fn begin(&mut self, key: ViewerKey, arrival: &Arrival, position: Position) {
        let mut opening = match &arrival.page {
            None => self.opening(),
            page => [&head::events(page.as_ref()), sse::OPENING].concat().into(),
        };
        self.counts.placed(arrival.cursor);
        if let Some(gap) = &position.resume.gap {
            self.counts.told_gap(gap.reason, 1);
            opening = [opening, sse::gap(gap)].concat().into();
        }
        let Some(viewer) = self.viewer(key).filter(|viewer| viewer.stage == Stage::Placing) else {
            return;
        };
        viewer.stage = Stage::Flowing;
        viewer.outbox.epoch = position.epoch;
        viewer.outbox.next = position.resume.after.next();
        viewer.told = viewer.outbox.next;
        viewer.deletions = position.deletions;
        viewer.say(opening);
        self.advance(key.at, &mut Waves::default());
    }

    /// What most answers begin with: the same bytes for all within a tick.
    fn opening(&mut self) -> Bytes {
        let now = self.wheel.now();
        match &self.opening {
            Some((made, bytes)) if *made == now => bytes.clone(),
            _ => {
                let bytes = Bytes::from([&head::events(None), sse::OPENING].concat());
                self.opening = Some((now, bytes.clone()));
                bytes
            }
        }
    }

    fn refuse(&mut self, key: ViewerKey, arrival: &Arrival, error: FollowError) {
        let answer = head::problem(&Problem::from(error), arrival.page.as_ref());
        self.answer(key, answer.into());
    }

    /// Answers with these bytes and nothing else.
    fn answer(&mut self, key: ViewerKey, bytes: Bytes) {
        if let Some(viewer) = self.viewer(key).filter(|viewer| viewer.stage == Stage::Placing) {
            viewer.stage = Stage::Ending;
            viewer.say(bytes);
            self.offer(key.at, &[], Then::Close);
        }
    }
}
