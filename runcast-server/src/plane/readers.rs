//! The readers of a shard: how one begins, and how it ends.

use runcast_event::RunId;
use runcast_hub::FollowerPlace;

use super::link::Kind;
use super::reader::{Reader, ReaderKey, Stage};
use super::shard::Shard;

impl Shard {
    /// Adds a reader to a connection.
    pub(super) fn add_reader(&mut self, link: usize, place: FollowerPlace) -> ReaderKey {
        self.joined += 1;
        let serial = self.joined;
        let at = self.readers.insert(Reader::new(serial, link, place));
        match self.links.get_mut(link).map(|link| &mut link.kind) {
            Some(Kind::WebSocket(dialogue)) => dialogue.readers.push(at),
            Some(Kind::Events { reader }) => *reader = Some(at),
            None => {}
        }
        ReaderKey { at, serial }
    }

    /// The reader, if it is still the same.
    pub(super) fn reader(&mut self, key: ReaderKey) -> Option<&mut Reader> {
        let reader = self.readers.get_mut(key.at)?;
        (reader.serial == key.serial && reader.stage != Stage::Over).then_some(reader)
    }

    /// The run that a reader follows.
    pub(super) fn run_of(&self, at: usize) -> Option<&RunId> {
        let membership = self.readers.get(at)?.membership?;
        Some(self.runs.watch(membership).run())
    }

    /// Whether a reader is a subscription, one of possibly many on its connection.
    pub(super) fn is_subscription(&self, at: usize) -> bool {
        let link = self.readers.get(at).and_then(|reader| self.links.get(reader.link));
        link.is_some_and(|link| matches!(link.kind, Kind::WebSocket(_)))
    }

    /// Takes a reader out at the end of the turn.
    pub(super) fn end_reader(&mut self, at: usize) {
        let Some(reader) = self.readers.get_mut(at) else { return };
        if reader.stage == Stage::Over {
            return;
        }
        reader.stage = Stage::Over;
        self.over.push(at);
        match self.links.get_mut(reader.link).map(|link| &mut link.kind) {
            Some(Kind::WebSocket(dialogue)) => dialogue.readers.retain(|reader| *reader != at),
            Some(Kind::Events { reader }) => *reader = None,
            None => {}
        }
    }

    /// Takes all readers of a connection out.
    pub(super) fn end_readers(&mut self, link: usize) {
        let readers: Vec<usize> = match self.links.get(link).map(|link| &link.kind) {
            Some(Kind::WebSocket(dialogue)) => dialogue.readers.clone(),
            Some(Kind::Events { reader }) => reader.iter().copied().collect(),
            None => Vec::new(),
        };
        for reader in readers {
            self.end_reader(reader);
        }
    }
}
