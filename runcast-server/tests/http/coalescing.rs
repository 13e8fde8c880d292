//! Readers that have deltas merged, join anywhere, are cut off in the middle of a frame and come back
//! over another transport: the text is the same to the letter.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::client::{TestServer, frames};
use crate::websocket::socket::Socket;

#[derive(Debug, Clone, Copy)]
enum Transport {
    Sse,
    WebSocket,
    Pages,
}

/// The text of each message and stream.
type Texts = BTreeMap<String, String>;

fn add(texts: &mut Texts, event: &Value) {
    let data = &event["data"];
    let key = format!("{} {} {} {}", event["type"], event["step"], data["message"], data["stream"]);
    texts.entry(key).or_default().push_str(data["text"].as_str().unwrap());
}

struct Reader {
    /// The last event that it has in whole.
    after: u64,
    texts: Texts,
}

impl Reader {
    /// Takes an event that follows on what it has; false if that was the last.
    fn take(&mut self, event: &Value) -> bool {
        let (offset, merged) =
            (event["offset"].as_u64().unwrap(), event["merged"].as_u64().unwrap_or(1));
        assert_eq!(offset, self.after + merged, "{event} behind {}", self.after);
        self.after = offset;
        let goes_on = event["type"] != "run.completed";
        if goes_on {
            add(&mut self.texts, event);
        }
        goes_on
    }

    /// Reads so many bytes and then leaves; false if that was all.
    async fn read(&mut self, server: &TestServer, over: Transport, bytes: usize) -> bool {
        let events = match over {
            Transport::Sse => self.sse(server, bytes).await,
            Transport::WebSocket => self.websocket(server, bytes).await,
            Transport::Pages => self.page(server, bytes).await,
        };
        events.iter().all(|event| self.take(event))
    }

    async fn sse(&self, server: &TestServer, bytes: usize) -> Vec<Value> {
        let target = format!("/v1/runs/r/events?coalesce=1&after={}", self.after);
        let mut connection = server.follow(&target).await;
        let mut wire = Vec::new();
        while wire.len() < bytes
            && let Some(part) = connection.part().await
        {
            wire.extend(part);
        }
        wire.truncate(bytes);
        let whole = wire.windows(2).rposition(|two| two == b"\n\n").map_or(0, |at| at + 2);
        let all = frames(std::str::from_utf8(&wire[..whole]).unwrap());
        all.into_iter().filter(|(id, ..)| !id.is_empty()).map(|(_, _, event)| event).collect()
    }

    async fn websocket(&self, server: &TestServer, bytes: usize) -> Vec<Value> {
        let mut socket = Socket::open(server).await;
        let after = self.after.to_string();
        let subscribe = json!({"type": "subscribe", "run": "r", "after": after, "coalesce": true});
        socket.send(&subscribe).await;
        let (mut wire, mut events) = (Vec::new(), Vec::new());
        loop {
            while let Some((message, length)) = message_of(&wire[..wire.len().min(bytes)]) {
                wire.drain(..length);
                match message["type"].as_str().unwrap() {
                    "events" => events.extend(message["events"].as_array().unwrap().clone()),
                    "end" => return events,
                    other => assert_eq!(other, "subscribed"),
                }
            }
            if wire.len() >= bytes {
                return events;
            }
            let part = socket.connection.part().await;
            wire.extend(
                part.unwrap_or_else(|| panic!("over behind {:?}", String::from_utf8_lossy(&wire))),
            );
        }
    }

    async fn page(&self, server: &TestServer, bytes: usize) -> Vec<Value> {
        let (after, limit) = (self.after, (bytes / 100 + 1).min(1_000));
        let target = format!("/v1/runs/r/events?coalesce=1&after={after}&limit={limit}&wait=5000");
        let page = server.get(&target).await.json();
        page["events"].as_array().unwrap().clone()
    }
}

/// The first message of a wire, and how many bytes it takes, if it is there in whole.
fn message_of(wire: &[u8]) -> Option<(Value, usize)> {
    let (head, length) = match *wire.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes(wire.get(2..4)?.try_into().unwrap()))),
        127 => (10, u64::from_be_bytes(wire.get(2..10)?.try_into().unwrap()) as usize),
        short => (2, usize::from(short)),
    };
    let payload = wire.get(head..head + length)?;
    Some((serde_json::from_slice(payload).unwrap(), head + length))
}

fn draft() -> impl Strategy<Value = Value> {
    let text = prop_oneof![any::<String>(), Just("\u{1F538}\"\\\r\n\n\0".to_owned())];
    let delta = |message: &str, text: &str| json!({"type": "message.delta", "data": {"message": message, "text": text}});
    (0_u8..8, text).prop_map(move |(pick, text)| match pick {
        0..=3 => delta("a", &text),
        4 => delta("b", &text),
        5 => json!({"type": "output", "data": {"stream": "stdout", "text": text}}),
        6 => json!({"type": "output", "step": "s", "data": {"text": text, "stream": "stdout"}}),
        _ => json!({"type": "my.event", "data": {"text": text}}),
    })
}

fn transport() -> impl Strategy<Value = Transport> {
    prop::sample::select(vec![Transport::Sse, Transport::WebSocket, Transport::Pages])
}

/// How a reader goes about it: where it joins, and how much it reads over which transport each time.
type Manners = (prop::sample::Index, Vec<(Transport, usize)>);

/// Reads to the end and holds the text against what was written.
async fn check(server: &TestServer, drafts: &[Value], after: usize, bites: &[(Transport, usize)]) {
    let mut reader = Reader { after: after as u64, texts: Texts::new() };
    for (transport, bytes) in bites {
        if !reader.read(server, *transport, *bytes).await {
            break;
        }
    }
    let last = bites.last().map_or(Transport::Sse, |(transport, _)| *transport);
    while reader.after <= drafts.len() as u64 {
        reader.read(server, last, 1 << 20).await;
    }
    let mut expected = Texts::new();
    drafts[after..].iter().for_each(|draft| add(&mut expected, draft));
    assert_eq!(reader.texts, expected, "behind {after}");
}

/// Writes batches, of which so many are there before the readers are.
async fn play(drafts: &[Value], batch: usize, before: usize, readers: &[Manners]) {
    let server = TestServer::start().await;
    let end = json!({"type": "run.completed"});
    let batches = drafts.chunks(batch).map(|batch| json!(batch)).chain([end]);
    let mut batches = batches.map(|batch| batch.to_string());
    for batch in batches.by_ref().take(before) {
        assert_eq!(server.post("/v1/runs/r/events", &batch).await.status, 200);
    }
    // Nobody may join behind what there is.
    let joins = (before * batch).min(drafts.len());
    let write = async {
        for batch in batches {
            assert_eq!(server.post("/v1/runs/r/events", &batch).await.status, 200);
        }
    };
    let read = async {
        for (join, bites) in readers {
            check(&server, drafts, join.index(joins + 1), bites).await;
        }
    };
    tokio::join!(write, read);
}

fn manners() -> impl Strategy<Value = Manners> {
    (any::<prop::sample::Index>(), prop::collection::vec((transport(), 1_usize..4_000), 0..6))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_text_is_the_same_to_the_letter_over_every_transport(
        drafts in prop::collection::vec(draft(), 1..80),
        batch in 1_usize..20,
        before in 0_usize..20,
        readers in prop::collection::vec(manners(), 1..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(&drafts, batch, before, &readers));
    }
}
