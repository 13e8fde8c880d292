//! A client of the WebSocket that knows nothing but frames.

use serde_json::{Value, json};

use crate::client::{Connection, TestServer};

/// One connection.
pub(crate) struct Socket {
    pub(crate) connection: Connection,
}

/// What the server sends.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    Message(Value),
    Ping,
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

pub(super) const HANDSHAKE: [(&str, &str); 5] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Protocol", "runcast.v1"),
];

/// A whole frame of a client.
pub(super) fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        medium @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

impl Socket {
    pub(crate) async fn open(server: &TestServer) -> Self {
        let mut connection = server.open("GET", "/v1/ws", &HANDSHAKE).await;
        let head = connection.head().await;
        assert_eq!(head.status, 101, "{head:?}");
        assert_eq!(head.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(head.header("sec-websocket-protocol"), Some("runcast.v1"));
        Self { connection }
    }

    pub(super) async fn frame(&mut self, opcode: u8, payload: &[u8]) {
        self.connection.write(&client_frame(opcode, payload)).await;
    }

    pub(super) async fn text(&mut self, text: &str) {
        self.frame(1, text.as_bytes()).await;
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.text(&message.to_string()).await;
    }

    pub(super) async fn next(&mut self) -> Frame {
        let head = self.connection.part_of(2).await;
        let length = match head[1] {
            126 => {
                let bytes = self.connection.part_of(2).await;
                usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
            }
            127 => {
                let bytes = self.connection.part_of(8).await;
                u64::from_be_bytes(bytes.try_into().unwrap()) as usize
            }
            short => usize::from(short),
        };
        assert!(length <= 1 << 20, "{length}");
        let payload = self.connection.part_of(length).await;
        match head[0] {
            0x81 => Frame::Message(serde_json::from_slice(&payload).unwrap()),
            0x88 if payload.is_empty() => Frame::Close(None, String::new()),
            0x88 => {
                let code = u16::from_be_bytes([payload[0], payload[1]]);
                Frame::Close(Some(code), String::from_utf8(payload[2..].to_vec()).unwrap())
            }
            0x89 => Frame::Ping,
            0x8a => Frame::Pong(payload),
            other => panic!("a frame that begins with {other:x}"),
        }
    }

    /// The next message; pings are passed over.
    pub(crate) async fn message(&mut self) -> Value {
        loop {
            match self.next().await {
                Frame::Message(message) => return message,
                Frame::Ping => {}
                other => panic!("{other:?} instead of a message"),
            }
        }
    }

    pub(super) async fn close_code(&mut self) -> Option<u16> {
        loop {
            if let Frame::Close(code, _) = self.next().await {
                assert!(self.connection.is_closed().await);
                return code;
            }
        }
    }

    /// The code with which the server closes, which is given back as a client does.
    pub(super) async fn close_code_answered(&mut self) -> Option<u16> {
        let Frame::Close(code, _) = self.next().await else { panic!("no close") };
        self.frame(8, &code.unwrap_or(1000).to_be_bytes()).await;
        assert!(self.connection.is_closed().await);
        code
    }

    pub(super) async fn subscribe(&mut self, run: &str, after: &str) -> Value {
        self.send(&json!({"type": "subscribe", "run": run, "after": after})).await;
        self.message().await
    }
}
