//! Messages of other nodes on their way from the connection to the node: so many at most. When there
//! are more, all are thrown away and the streams are read instead.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use crate::options::RedisOptions;

/// What came on a channel.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) channel: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Messages {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    count_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Message>,
    bytes: usize,
    /// There were too many.
    has_overflowed: bool,
}

/// What the node gets.
#[derive(Debug)]
pub(crate) enum Arrived {
    Messages(Vec<Message>),
    /// Some were thrown away.
    TooMany,
}

impl Messages {
    pub(crate) fn new(options: &RedisOptions) -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Notify::new(),
            count_max: options.messages_max.max(1),
            bytes_max: options.messages_bytes_max,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what Redis sends unasked.
    pub(crate) fn take(&self, push: PushInfo) {
        if !matches!(push.kind, PushKind::Message | PushKind::SMessage) {
            return;
        }
        let Ok([Value::BulkString(channel), Value::BulkString(payload)]) =
            <[Value; 2]>::try_from(push.data)
        else {
            return;
        };
        let mut waiting = self.waiting();
        if waiting.has_overflowed {
            return;
        }
        waiting.bytes += payload.len();
        if waiting.messages.len() >= self.count_max || waiting.bytes > self.bytes_max {
            *waiting = Waiting { has_overflowed: true, ..Waiting::default() };
        } else {
            waiting.messages.push_back(Message { channel, payload });
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    fn arrived(&self) -> Option<Arrived> {
        let mut waiting = self.waiting();
        if waiting.has_overflowed {
            *waiting = Waiting::default();
            return Some(Arrived::TooMany);
        }
        waiting.bytes = 0;
        let messages: Vec<Message> = waiting.messages.drain(..).collect();
        (!messages.is_empty()).then_some(Arrived::Messages(messages))
    }

    /// Waits for messages. Can be cancelled without losing any.
    pub(crate) async fn next(&self) -> Arrived {
        loop {
            match self.arrived() {
                Some(arrived) => return arrived,
                None => self.arrived.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(payload: &str) -> PushInfo {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        PushInfo { kind: PushKind::Message, data: vec![text("c"), text(payload)] }
    }

    #[tokio::test]
    async fn messages_come_in_order_and_too_many_are_said_to_be_too_many() {
        let options = RedisOptions { messages_max: 2, ..RedisOptions::default() };
        let messages = Messages::new(&options);
        ["1", "2"].iter().for_each(|payload| messages.take(push(payload)));
        let Arrived::Messages(came) = messages.next().await else {
            panic!("they are not too many")
        };
        assert!(came.iter().map(|message| &message.payload[..]).eq([b"1", b"2"]));
        ["1", "2", "3", "4"].iter().for_each(|payload| messages.take(push(payload)));
        assert!(matches!(messages.next().await, Arrived::TooMany));
        messages.take(push("5"));
        assert!(matches!(messages.next().await, Arrived::Messages(came) if came.len() == 1));
    }
}
