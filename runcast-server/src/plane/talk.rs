//! What a shard does for a WebSocket beside giving it events: listens to its client, subscribes,
//! publishes, pings, closes.

use std::io;
use std::sync::Arc;

use runcast_event::RunId;
use runcast_hub::Format;
use runcast_log::Append;

use super::dialogue::{Dialogue, Published};
use super::inbox::Message;
use super::joins::Arrival;
use super::link::{Kind, LinkKey, Phase};
use super::shard::{Chore, Shard};
use super::turn::at_once;
use super::wave::Waves;
use crate::api::Scope;
use crate::metrics::Transport;
use crate::problem::{Code, Problem};
use crate::socket::Action;
use crate::transport::shape::Shape;
use crate::transport::websocket::message::{self, RequestId};
use crate::transport::websocket::{self, Close, Received};

/// How often a client is read in one turn.
const READS_MAX: usize = 4;
/// What is collected for one write while messages are acted on.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

impl Shard {
    fn dialogue(&mut self, at: usize) -> Option<&mut Dialogue> {
        self.links.get_mut(at)?.dialogue()
    }

    fn may_listen(&mut self, at: usize) -> bool {
        let Some(link) = self.links.get_mut(at) else { return false };
        let is_open = link.phase == Phase::Open && !link.is_full;
        is_open && link.dialogue().is_some_and(|dialogue| dialogue.may_listen())
    }

    fn say(&mut self, at: usize, frame: bytes::Bytes) {
        if let Some(link) = self.links.get_mut(at) {
            link.say(frame);
        }
    }

    /// Reads what a client sends and acts on it, as far as it may at the moment. A client that sends
    /// more than its share is gone on with when the others had their turn.
    pub(super) fn listen(&mut self, at: usize) {
        let mut buffer = std::mem::take(&mut self.read_buffer);
        for _ in 0..READS_MAX {
            if !self.may_listen(at) {
                break;
            }
            let unread = self.dialogue(at).map(|dialogue| std::mem::take(&mut dialogue.unread));
            if let Some(unread) = unread.filter(|unread| !unread.is_empty()) {
                self.take_in(at, &unread);
            } else {
                match self.hear(at, &mut buffer) {
                    Ok(length) => self.take_in(at, &buffer[..length]),
                    Err(error) => {
                        if error.kind() != io::ErrorKind::WouldBlock {
                            self.let_go(at);
                        }
                        break;
                    }
                }
            }
            if !self.flush(at) {
                break;
            }
        }
        self.read_buffer = buffer;
        if self.links.get(at).is_some_and(|link| link.pending_bytes() > 0 && !link.is_full) {
            self.flush(at);
        }
        if self.may_listen(at) && self.dialogue(at).is_some_and(|dialogue| dialogue.has_more) {
            self.agenda.push_back(Chore::Listen(at));
        }
    }

    /// Reads what a client has sent.
    fn hear(&mut self, at: usize, buffer: &mut [u8]) -> io::Result<usize> {
        let link = self.links.get_mut(at).ok_or(io::ErrorKind::NotConnected)?;
        let read = link.read(buffer);
        let dialogue = link.dialogue().ok_or(io::ErrorKind::NotConnected)?;
        dialogue.has_more = matches!(read, Ok(1..));
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                dialogue.silent_since = None;
                Ok(length)
            }
            Err(error) => Err(error),
        }
    }

    /// Acts on what came, as far as that may be, and keeps the rest.
    fn take_in(&mut self, at: usize, mut input: &[u8]) {
        while self.may_listen(at) {
            let Some(dialogue) = self.dialogue(at) else { return };
            match dialogue.frames.next(&mut input) {
                Ok(None) => return,
                Ok(Some(received)) => self.act(at, received),
                Err(close) => self.close(at, &close),
            }
            if self.links.get(at).is_some_and(|link| link.pending_bytes() > ANSWER_BYTES_MAX) {
                self.flush(at);
            }
        }
        if let Some(dialogue) = self.dialogue(at)
            && !input.is_empty()
        {
            dialogue.unread.splice(..0, input.iter().copied());
        }
    }

    fn act(&mut self, at: usize, received: Received) {
        let now = self.presence.now();
        let Some(dialogue) = self.dialogue(at) else { return };
        let text = match received {
            Received::Text(text) => text,
            Received::Ping(payload) => return self.say(at, websocket::pong(&payload)),
            Received::Pong => return,
            Received::Close(code) => return self.close(at, &Close::Answer(code)),
        };
        match dialogue.session.take(&text, now) {
            Action::Subscribe { id, run, cursor, scope, view } => {
                let shape = Shape { view, format: Format::WebSocket };
                let arrival = Arrival::Subscription { id, run: run.clone(), cursor };
                self.subscribe(at, (&run, scope, shape), arrival);
            }
            Action::Unsubscribe { id, run } => {
                self.unsubscribe(at, &run);
                self.say(at, message::unsubscribed(id.as_ref(), &run));
            }
            Action::Publish { id, append } => self.publish(at, id, append),
            Action::Pong { id } => self.say(at, message::pong(id.as_ref())),
            Action::Refuse { id, run, problem } => {
                self.say(at, message::error(id.as_ref(), run.as_ref(), &problem));
            }
            Action::Close(close) => self.close(at, &close),
        }
    }

    fn subscribe(&mut self, at: usize, wanted: (&RunId, Scope, Shape), arrival: Arrival) {
        match self.hub.admit() {
            Ok(place) => self.begin_reading(at, place, wanted, arrival),
            Err(error) => self.refuse(at, None, &arrival, error),
        }
    }

    fn unsubscribe(&mut self, at: usize, run: &RunId) {
        let Some(Kind::WebSocket(dialogue)) = self.links.get(at).map(|link| &link.kind) else {
            return;
        };
        let follows = |reader: &&usize| self.run_of(**reader) == Some(run);
        if let Some(reader) = dialogue.readers.iter().find(follows).copied() {
            self.end_reader(reader);
        }
    }

    fn publish(&mut self, at: usize, id: RequestId, append: Append) {
        let Some(serial) = self.links.get(at).map(|link| link.serial) else { return };
        let link = LinkKey { at, serial };
        let run = append.run.clone();
        let bytes = append.events.iter().map(bytes::Bytes::len).sum();
        if let Some(dialogue) = self.dialogue(at) {
            dialogue.publishes += 1;
            dialogue.publish_bytes += bytes;
        }
        self.counts.append_requested();
        let publisher = self.publisher.clone();
        let mut stored = Box::pin(async move {
            let result = publisher.append(append).await;
            Published { link, id, run, bytes, result }
        });
        // Begun here, so that publishes are stored in the order in which they came.
        match at_once(stored.as_mut()) {
            Some(published) => self.published(published),
            None => {
                let inbox = Arc::clone(&self.inbox);
                self.runtime.spawn(async move {
                    inbox.send(Message::Published(Box::new(stored.await)));
                });
            }
        }
    }

    /// Answers a publish.
    pub(super) fn published(&mut self, published: Published) {
        let Published { link: LinkKey { at, serial }, id, run, bytes, result } = published;
        let frame = match result {
            Ok(appended) => message::published(&id, &run, &appended),
            Err(unstored) => {
                let problem = unstored.in_batch();
                self.counts.append_refused(problem.code());
                message::error(Some(&id), Some(&run), &problem)
            }
        };
        let Some(link) = self.links.get_mut(at).filter(|link| link.serial == serial) else {
            return;
        };
        if link.phase != Phase::Open {
            return;
        }
        link.say(frame);
        let Some(dialogue) = link.dialogue() else { return };
        dialogue.publishes -= 1;
        dialogue.publish_bytes -= bytes;
        match dialogue.closing.take_if(|_| dialogue.publishes == 0) {
            Some(close) => self.close(at, &close),
            // Answers that wait together leave in one write, before the client is listened to.
            None => self.agenda.push_back(Chore::Listen(at)),
        }
    }

    /// Asks a client whether it is there, and tells readers how far they are.
    pub(super) fn beat(&mut self, at: usize) {
        let now = self.wheel.now();
        let (heartbeat, pong_timeout) = (self.clock.heartbeat, self.clock.pong_timeout);
        let Some(link) = self.links.get_mut(at) else { return };
        let is_full = link.is_full;
        let Some(dialogue) = link.dialogue() else { return };
        if is_full || now < dialogue.beat_at {
            return;
        }
        dialogue.beat_at = now.plus(heartbeat);
        if !dialogue.may_listen() {
            // Its answer would not be heard, so that its silence says nothing.
            dialogue.silent_since = None;
        } else if dialogue.silent_since.is_some_and(|since| now.since(since) >= pong_timeout) {
            self.counts.was_silent(Transport::WebSocket);
            return self.close(at, &Close::Silent);
        } else {
            dialogue.silent_since.get_or_insert(now);
        }
        for reader in dialogue.readers.clone() {
            if let Some(passed) = self.passed(reader) {
                self.say(at, passed);
            }
        }
        if self.hub.is_away() {
            self.say(at, message::away());
        }
        self.say(at, websocket::ping());
        self.flush(at);
    }

    /// Gives a WebSocket's readers what there is for them, as long as the socket takes it.
    pub(super) fn flow_on(&mut self, at: usize) {
        let Some(dialogue) = self.dialogue(at) else { return };
        let mut readers = dialogue.readers.clone();
        if readers.is_empty() {
            return;
        }
        dialogue.first = (dialogue.first + 1) % readers.len();
        readers.rotate_left(dialogue.first);
        for reader in readers {
            self.advance(reader, &mut Waves::default());
        }
    }

    /// Sends a client away, to come back when the server is there again: when what it published is
    /// answered.
    pub(super) fn send_away(&mut self, at: usize) {
        let close = Close::Restart(self.reconnect_after());
        let Some(dialogue) = self.dialogue(at) else { return };
        if dialogue.publishes == 0 {
            self.close(at, &close);
        } else {
            dialogue.closing = Some(close);
        }
    }

    /// Says why a WebSocket ends, and ends it.
    fn close(&mut self, at: usize, close: &Close) {
        let Some(link) = self.links.get_mut(at).filter(|link| link.phase == Phase::Open) else {
            return;
        };
        link.say(websocket::close(close));
        link.phase = Phase::Ending;
        self.end_readers(at);
        if !self.links[at].is_full {
            self.flush(at);
        }
    }

    /// Runs that a connection follows, and where, as it is written in `?after=`; the first of them.
    pub(super) fn standing(&self, at: usize) -> (usize, String) {
        const TOLD_MAX: usize = 8;
        let readers: &[usize] = match self.links.get(at).map(|link| &link.kind) {
            Some(Kind::WebSocket(dialogue)) => &dialogue.readers,
            Some(Kind::Events { reader }) => reader.as_slice(),
            None => &[],
        };
        let cursors = readers.iter().take(TOLD_MAX).filter_map(|reader| {
            let cursor = self.readers.get(*reader)?.place.cursor();
            Some(format!("{}:{cursor}", self.run_of(*reader)?))
        });
        (readers.len(), cursors.collect::<Vec<_>>().join(","))
    }

    /// The subscription is over: what its last message was is said by the caller.
    pub(super) fn end_subscription(&mut self, reader: usize) {
        let run = self.run_of(reader).cloned();
        let Some(at) = self.readers.get(reader).map(|reader| reader.link) else { return };
        self.end_reader(reader);
        if let (Some(run), Some(dialogue)) = (run, self.dialogue(at)) {
            dialogue.session.ended(&run);
        }
    }

    /// Says that a run cannot be read, and ends the subscription to it.
    pub(super) fn fail_subscription(&mut self, reader: usize) {
        let run = self.run_of(reader).cloned();
        let Some(at) = self.readers.get(reader).map(|reader| reader.link) else { return };
        let detail = "the run's events cannot be read; subscribe again from the cursor";
        self.say(at, message::error(None, run.as_ref(), &Problem::new(Code::Internal, detail)));
        self.end_subscription(reader);
        self.flush(at);
    }
}
