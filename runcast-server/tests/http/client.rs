//! A server, and a client that knows nothing but sockets.

use std::any::Any;
use std::net::SocketAddr;
use std::time::Duration;

use runcast_hub::{Hub, HubBuilder, HubConfig};
use runcast_server::{HttpConfig, Server};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::store;

/// A test that waits longer than this for an answer has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) hub: Hub,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    /// What its log needs.
    store: Option<Box<dyn Any + Send>>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}, HubConfig::default()).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut HttpConfig), hub: HubConfig) -> Self {
        let builder = HubBuilder::new(hub);
        let (log, store) = store::open(builder.observer()).await;
        let mut server = Self::start_on(change, builder.build(log)).await;
        server.store = Some(store);
        server
    }

    pub(crate) async fn start_on(change: impl FnOnce(&mut HttpConfig), hub: Hub) -> Self {
        let mut config =
            HttpConfig { listen: "127.0.0.1:0".parse().unwrap(), ..HttpConfig::default() };
        change(&mut config);
        Self::running(Server::bind(config, hub).await.unwrap())
    }

    pub(crate) fn running(server: Server) -> Self {
        let (address, hub) = (server.local_addr(), server.hub().clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = server.run(async move {
            let _ = stopped.await;
        });
        let task = tokio::spawn(async move { running.await.unwrap() });
        Self { address, hub, stop: Some(stop), task, store: None }
    }

    pub(crate) fn begin_to_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn stopped(&mut self) {
        patiently(&mut self.task).await.unwrap();
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.send("GET", target, &[], b"").await
    }

    pub(crate) async fn post(&self, target: &str, json: &str) -> Reply {
        let headers = [("Content-Type", "application/json")];
        self.send("POST", target, &headers, json.as_bytes()).await
    }

    pub(crate) async fn lines(&self, target: &str, lines: &str) -> Reply {
        let headers = [("Content-Type", "application/x-ndjson")];
        self.send("POST", target, &headers, lines.as_bytes()).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let length = body.len().to_string();
        let mut all = vec![("Connection", "close"), ("Content-Length", length.as_str())];
        all.extend_from_slice(headers);
        let mut connection = self.open(method, target, &all).await;
        connection.write(body).await;
        connection.reply().await
    }

    /// Sends a head and nothing else yet.
    pub(crate) async fn open(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Connection {
        let mut head = format!("{method} {target} HTTP/1.1\r\n");
        if !headers.iter().any(|(name, _)| *name == "Host") {
            head.push_str(&format!("Host: {}\r\n", self.address));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut connection = self.connect().await;
        connection.write(head.as_bytes()).await;
        connection
    }

    pub(crate) async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Connection { stream, received: Vec::new(), is_chunked: false }
    }

    /// Follows a run; gives the connection behind the head of the answer.
    pub(crate) async fn follow(&self, target: &str) -> Connection {
        let headers = [("Accept", "text/event-stream")];
        let mut connection = self.open("GET", target, &headers).await;
        let head = connection.head().await;
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        connection
    }
}

pub(crate) async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("an answer within the test's patience")
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.text()))
    }

    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Checks that this is a problem with this code, and gives it.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("urn:runcast:problem:{code}"));
        assert!(problem["title"].is_string() && problem["detail"].is_string());
        problem
    }
}

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    received: Vec<u8>,
    is_chunked: bool,
}

impl Connection {
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        // A server that has refused may have stopped reading.
        let _ = patiently(self.stream.write_all(bytes)).await;
    }

    /// One piece of a chunked request body.
    pub(crate) async fn write_chunk(&mut self, text: &str) {
        self.write(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await;
    }

    async fn receive(&mut self) -> bool {
        let read = patiently(self.stream.read_buf(&mut self.received)).await;
        read.is_ok_and(|length| length > 0)
    }

    /// The head of the answer; what follows is read by the other calls.
    pub(crate) async fn head(&mut self) -> Reply {
        let end = loop {
            if let Some(at) = find(&self.received, b"\r\n\r\n") {
                break at;
            }
            assert!(self.receive().await, "the connection ended in the head of the answer");
        };
        let head: Vec<u8> = self.received.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        self.is_chunked = headers.iter().any(|(name, _)| name == "transfer-encoding");
        Reply { status, headers, body: Vec::new() }
    }

    /// The next part of the body: a chunk, or whatever comes. None at the end.
    pub(crate) async fn part(&mut self) -> Option<Vec<u8>> {
        if !self.is_chunked {
            while self.received.is_empty() {
                if !self.receive().await {
                    return None;
                }
            }
            return Some(std::mem::take(&mut self.received));
        }
        let line_end = loop {
            if let Some(at) = find(&self.received, b"\r\n") {
                break at;
            }
            if !self.receive().await {
                return None;
            }
        };
        let size = std::str::from_utf8(&self.received[..line_end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        while self.received.len() < line_end + 2 + size + 2 {
            if !self.receive().await {
                return None;
            }
        }
        let chunk: Vec<u8> = self.received.drain(..line_end + 2 + size + 2).collect();
        (size > 0).then(|| chunk[line_end + 2..line_end + 2 + size].to_vec())
    }

    /// Reads the body until it ends with `end`, and gives it as text.
    pub(crate) async fn until(&mut self, end: &str) -> String {
        let mut body = Vec::new();
        while !body.ends_with(end.as_bytes()) {
            let part = self.part().await;
            let part =
                part.unwrap_or_else(|| panic!("ended after {}", String::from_utf8_lossy(&body)));
            body.extend(part);
        }
        String::from_utf8(body).unwrap()
    }

    /// The next bytes of a body of known length.
    pub(crate) async fn part_of(&mut self, length: usize) -> Vec<u8> {
        while self.received.len() < length {
            assert!(self.receive().await, "the connection ended in the body");
        }
        self.received.drain(..length).collect()
    }

    /// Everything to the end of the body.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        while let Some(part) = self.part().await {
            body.extend(part);
        }
        body
    }

    pub(crate) async fn reply(&mut self) -> Reply {
        let head = self.head().await;
        let body = self.rest().await;
        Reply { body, ..head }
    }

    /// Whether the server has closed the connection, when all that it sent was taken.
    pub(crate) async fn is_over(&mut self) -> bool {
        self.received.is_empty() && !self.receive().await
    }

    /// Whether the server has closed the connection without sending more.
    pub(crate) async fn is_closed(&mut self) -> bool {
        !self.receive().await
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// The events in a text of server-sent events: `(id, event, data)`.
pub(crate) fn frames(text: &str) -> Vec<(String, String, Value)> {
    let blocks = text.split("\n\n").filter(|block| block.contains("data: "));
    let field = |block: &str, name: &str| {
        let prefix = format!("{name}: ");
        block.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default().to_owned()
    };
    blocks
        .map(|block| {
            let data = serde_json::from_str(&field(block, "data")).unwrap();
            (field(block, "id"), field(block, "event"), data)
        })
        .collect()
}
