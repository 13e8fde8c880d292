//! How a connection gets into a shard, and a reader its run and its place in it: its answer begins, or
//! it is told why not.

use std::sync::Arc;

use axum::http::HeaderValue;
use bytes::Bytes;
use mio::net::TcpStream;
use mio::{Interest, Token};
use runcast_event::{Cursor, RunId};
use runcast_hub::{FollowError, FollowerPlace, Look, Position};

use super::dialogue::Dialogue;
use super::inbox::Message;
use super::link::{Kind, Link, Phase};
use super::reader::{ReaderKey, Stage};
use super::shard::Shard;
use super::turn::at_once;
use super::wave::Waves;
use super::{Newcomer, Wish};
use crate::api::{FollowRequest, Scope};
use crate::problem::Problem;
use crate::transport::shape::Shape;
use crate::transport::websocket::message::{self, RequestId};
use crate::transport::{head, sse};

/// What is known of a reader until it is placed.
pub(super) enum Arrival {
    /// It is to get server-sent events.
    Follow { cursor: Option<Cursor>, page: Option<HeaderValue> },
    /// It is one of a WebSocket's.
    Subscription { id: Option<RequestId>, run: RunId, cursor: Cursor },
}

impl Shard {
    pub(super) fn join(&mut self, newcomer: Newcomer) {
        let Newcomer { stream, wish, seat } = newcomer;
        let now = self.wheel.now();
        let beat_at = now.plus(self.clock.heartbeat);
        let (kind, follow) = match wish {
            Wish::Follow { request, page } => {
                (Kind::Events { reader: None }, Some((request, page)))
            }
            Wish::WebSocket { read_before } => {
                (Kind::WebSocket(Box::new(Dialogue::new(read_before, beat_at))), None)
            }
        };
        self.joined += 1;
        let entry = self.links.vacant_entry();
        let at = entry.key();
        let link = Link::new(TcpStream::from_std(stream), self.joined, kind, seat, now);
        let link = entry.insert(link);
        link.due = self.wheel.insert(at, beat_at.min(now.plus(self.clock.stalled)));
        self.counts.joined(link.transport());
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(link.socket(), Token(at), both) {
            tracing::warn!(%error, "a connection cannot be served");
            return self.let_go(at);
        }
        if self.is_draining {
            return self.send_link_away(at);
        }
        let Some((request, page)) = follow else { return self.listen(at) };
        let FollowRequest { run, scope, cursor, shape } = *request;
        let arrival = Arrival::Follow { cursor, page };
        match self.hub.admit() {
            Ok(place) => self.begin_reading(at, place, (&run, scope, shape), arrival),
            Err(error) => self.refuse(at, None, &arrival, error),
        }
    }

    /// Adds a reader of a run to a connection.
    pub(super) fn begin_reading(
        &mut self,
        link: usize,
        place: FollowerPlace,
        (run, scope, shape): (&RunId, Scope, Shape),
        arrival: Arrival,
    ) {
        let key = self.add_reader(link, place);
        let (membership, watch) = self.runs.join(run, shape, key.at);
        let reader = &mut self.readers[key.at];
        reader.membership = Some(membership);
        if scope == Scope::Mailbox {
            reader.there = Some(Box::new(self.presence.hold(run)));
        }
        let cursor = match &arrival {
            Arrival::Follow { cursor, .. } => cursor.unwrap_or_default(),
            Arrival::Subscription { cursor, .. } => *cursor,
        };
        let mut position = Box::pin(async move { watch.position(cursor).await });
        match at_once(position.as_mut()) {
            Some(position) => self.placed(key, &arrival, position),
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
        key: ReaderKey,
        arrival: &Arrival,
        position: Result<Position, FollowError>,
    ) {
        let Some(reader) = self.reader(key).filter(|reader| reader.stage == Stage::Placing) else {
            return;
        };
        let link = reader.link;
        match (position, arrival) {
            (Err(error), _) => self.refuse(link, Some(key.at), arrival, error),
            (Ok(position), Arrival::Follow { cursor, page, .. }) => {
                if self.has_seen_all(key, *cursor, position) {
                    self.answer(link, head::no_content(page.as_ref()).into());
                } else {
                    let opening = self.opening(page.as_ref());
                    self.begin(key, *cursor, opening, &position);
                }
            }
            (Ok(position), Arrival::Subscription { id, run, cursor }) => {
                let last = Cursor::new(position.epoch, position.last);
                let opening = message::subscribed(id.as_ref(), run, *cursor, last);
                self.begin(key, Some(*cursor), opening, &position);
            }
        }
    }

    /// Whether the run has ended and the reader says that it has got all of it.
    fn has_seen_all(&mut self, key: ReaderKey, cursor: Option<Cursor>, at: Position) -> bool {
        let after = at.resume.after;
        if cursor != Some(Cursor::new(at.epoch, after)) || at.resume.gap.is_some() {
            return false;
        }
        let Some(membership) = self.reader(key).and_then(|reader| reader.membership) else {
            return false;
        };
        matches!(self.runs.watch(membership).look(after.next(), at.deletions), Look::End)
    }

    fn begin(
        &mut self,
        key: ReaderKey,
        cursor: Option<Cursor>,
        opening: Bytes,
        position: &Position,
    ) {
        let Some(reader) = self.reader(key) else { return };
        reader.begin(position);
        let (at, membership) = (reader.link, reader.membership);
        let (Some(link), Some(membership)) = (self.links.get_mut(at), membership) else { return };
        self.counts.placed(link.transport(), cursor);
        link.say(opening);
        if let Some(gap) = &position.resume.gap {
            self.counts.told_gap(gap.reason, 1);
            let run = self.runs.watch(membership).run();
            link.say(self.runs.shape(membership).gap(run, gap));
        }
        self.advance(key.at, &mut Waves::default());
    }

    /// What the answer to a follow begins with. For most it is the same bytes within a tick.
    fn opening(&mut self, page: Option<&HeaderValue>) -> Bytes {
        let make = |page| Bytes::from([&head::events(page), sse::OPENING].concat());
        let now = self.wheel.now();
        match (&self.opening, page) {
            (_, Some(_)) => make(page),
            (Some((made, bytes)), None) if *made == now => bytes.clone(),
            _ => {
                let bytes = make(None);
                self.opening = Some((now, bytes.clone()));
                bytes
            }
        }
    }

    /// Says why a run cannot be followed; for server-sent events that is all there is to say.
    pub(super) fn refuse(
        &mut self,
        at: usize,
        reader: Option<usize>,
        arrival: &Arrival,
        error: FollowError,
    ) {
        let problem = Problem::from(error);
        match arrival {
            Arrival::Follow { page, .. } => {
                self.answer(at, head::problem(&problem, page.as_ref()).into());
            }
            Arrival::Subscription { id, run, .. } => {
                let Some(link) = self.links.get_mut(at) else { return };
                link.say(message::error(id.as_ref(), Some(run), &problem));
                if let Some(dialogue) = link.dialogue() {
                    dialogue.session.ended(run);
                }
                if let Some(reader) = reader {
                    self.end_reader(reader);
                    self.flush(at);
                }
            }
        }
    }

    /// Answers with these bytes and nothing else.
    fn answer(&mut self, at: usize, bytes: Bytes) {
        if let Some(link) = self.links.get_mut(at).filter(|link| link.phase == Phase::Open) {
            link.phase = Phase::Ending;
            link.say(bytes);
            self.end_readers(at);
            self.flush(at);
        }
    }
}
