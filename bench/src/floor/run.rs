//! One run of the floor: the frames of all its events, as they go onto the wire.

use crate::event::write_decimal;
use crate::wire::websocket::write_text_head;

/// The field that the server adds to an event, in the same number of bytes.
const TIME: &[u8] = br#","time":"2026-01-01T00:00:00.000000Z","#;

/// A run's events and who follows them.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// All frames behind each other.
    pub(crate) frames: Vec<u8>,
    /// Where the frame behind offset `n` begins, at place `n`.
    begins: Vec<usize>,
    /// The connections that follow.
    pub(crate) followers: Vec<usize>,
    /// Its name, when its frames are WebSocket messages, which have it in them.
    websocket_name: Option<String>,
}

impl Run {
    /// One without events. With a name, its frames are WebSocket messages.
    pub(crate) fn new(websocket_name: Option<&str>) -> Self {
        Self { websocket_name: websocket_name.map(ToOwned::to_owned), ..Self::default() }
    }

    /// The offset of the newest event.
    pub(crate) fn last(&self) -> u64 {
        self.begins.len().saturating_sub(1) as u64
    }

    /// Where in the frames the event behind offset `after` begins.
    pub(crate) fn place_after(&self, after: u64) -> usize {
        let at = usize::try_from(after).unwrap_or(usize::MAX);
        self.begins.get(at).copied().unwrap_or(self.frames.len())
    }

    /// Adds an event that was posted as one JSON object.
    pub(crate) fn push(&mut self, event: &[u8]) {
        if self.begins.is_empty() {
            self.begins.push(0);
        }
        let offset = self.last() + 1;
        if let Some(name) = &self.websocket_name {
            let mut json = Vec::with_capacity(event.len() + 160);
            json.extend_from_slice(b"{\"type\":\"events\",\"run\":\"");
            json.extend_from_slice(name.as_bytes());
            json.extend_from_slice(b"\",\"events\":[{\"offset\":");
            write_decimal(&mut json, offset);
            json.extend_from_slice(TIME);
            json.extend_from_slice(event.get(1..).unwrap_or(b"}"));
            json.extend_from_slice(b"],\"cursor\":\"");
            write_decimal(&mut json, offset);
            json.extend_from_slice(b"\"}");
            write_text_head(&mut self.frames, json.len());
            self.frames.extend_from_slice(&json);
            self.begins.push(self.frames.len());
            return;
        }
        self.frames.extend_from_slice(b"id: ");
        write_decimal(&mut self.frames, offset);
        self.frames.extend_from_slice(b"\ndata: {\"offset\":");
        write_decimal(&mut self.frames, offset);
        self.frames.extend_from_slice(TIME);
        self.frames.extend_from_slice(event.get(1..).unwrap_or(b"}"));
        self.frames.extend_from_slice(b"\n\n");
        self.begins.push(self.frames.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sse::{Frame, Scanner};

    #[test]
    fn frames_carry_ascending_offsets_and_json() {
        let mut run = Run::default();
        assert_eq!((run.last(), run.place_after(0)), (0, 0));
        run.push(b"{\"type\":\"a.b\",\"data\":{\"t\":17}}");
        run.push(b"{\"type\":\"a.b\"}");
        assert_eq!(run.last(), 2);
        let mut offsets = Vec::new();
        let scan = |frame| offsets.push(frame);
        Scanner::default().take(&run.frames[run.place_after(1)..], scan).unwrap();
        assert_eq!(offsets, [Frame::Event { offset: 2, stamp: None }]);
        let text = std::str::from_utf8(&run.frames).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
    }

    #[test]
    fn a_place_behind_the_end_is_the_end() {
        let mut run = Run::default();
        run.push(b"{}");
        assert_eq!(run.place_after(1), run.frames.len());
        assert_eq!(run.place_after(99), run.frames.len());
    }
}
