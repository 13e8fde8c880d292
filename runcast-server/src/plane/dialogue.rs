//! What a WebSocket has beside its socket: the frames that are coming in, its subscriptions, and the
//! publishes that are under way. Idle, it holds no buffer.

use runcast_event::RunId;
use runcast_log::Appended;

use super::link::LinkKey;
use super::wheel::Tick;
use crate::publisher::Unstored;
use crate::socket::{PUBLISH_BYTES_MAX, PUBLISHES_MAX, Session};
use crate::transport::websocket::message::RequestId;
use crate::transport::websocket::{Close, FrameReader, MESSAGE_BYTES_MAX};

pub(super) struct Dialogue {
    pub(super) frames: FrameReader,
    pub(super) session: Session,
    /// Who reads over it, by their places in the shard.
    pub(super) readers: Vec<usize>,
    /// Which of them is the first to get something when the socket has room: another each time.
    pub(super) first: usize,
    /// What was read and not acted on, because nothing may be at the moment.
    pub(super) unread: Vec<u8>,
    /// The socket may have more, and will not say so again.
    pub(super) has_more: bool,
    /// Publishes that are not answered.
    pub(super) publishes: usize,
    /// Bytes of their events.
    pub(super) publish_bytes: usize,
    /// Since when a ping is not answered.
    pub(super) silent_since: Option<Tick>,
    /// When it is pinged next.
    pub(super) beat_at: Tick,
    /// How it ends when the publishes are answered.
    pub(super) closing: Option<Close>,
}

impl Dialogue {
    /// A dialogue whose client has sent these bytes already.
    pub(super) fn new(unread: Vec<u8>, beat_at: Tick) -> Self {
        Self {
            frames: FrameReader::new(MESSAGE_BYTES_MAX),
            session: Session::default(),
            readers: Vec::new(),
            first: 0,
            unread,
            has_more: true,
            publishes: 0,
            publish_bytes: 0,
            silent_since: None,
            beat_at,
            closing: None,
        }
    }

    /// Whether the client's next message may be acted on.
    pub(super) fn may_listen(&self) -> bool {
        self.closing.is_none()
            && self.publishes < PUBLISHES_MAX
            && self.publish_bytes < PUBLISH_BYTES_MAX
    }
}

/// A publish that was stored, or was not.
pub(super) struct Published {
    pub(super) link: LinkKey,
    pub(super) id: RequestId,
    pub(super) run: RunId,
    pub(super) bytes: usize,
    pub(super) result: Result<Appended, Unstored>,
}
