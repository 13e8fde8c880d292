//! The floor's loop.

use std::collections::HashMap;
use std::io::{IoSlice, Write as _};
use std::net::{SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rustix::io::Errno;
use rustix::net::{SocketFlags, sockopt};

use super::connection::{Connection, Part};
use super::disk::Disk;
use super::request::{Ask, parse_request, parse_subscribe};
use super::run::Run;
use crate::poller::Poller;
use crate::wire::socket::{Received, receive, send};
use crate::wire::websocket;

const LISTENER: u64 = u64::MAX;
const READ_BYTES: usize = 256 * 1024;
const BACKLOG: i32 = 4096;
const FOLLOW_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\nconnection: close\r\n\r\n";

/// How the floor is started.
#[derive(Debug, clap::Args)]
pub(crate) struct FloorSettings {
    /// Where to listen.
    #[arg(long)]
    pub(crate) listen: SocketAddrV4,
    /// A file to write what is posted to; without one nothing is written to disk.
    #[arg(long)]
    pub(crate) disk: Option<PathBuf>,
    /// Followers come over WebSocket.
    #[arg(long)]
    pub(crate) websocket: bool,
}

struct Floor {
    poller: Poller,
    listener: OwnedFd,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    runs: Vec<Run>,
    names: HashMap<String, usize>,
    disk: Option<Disk>,
    waiting: Waiting,
    buffer: Vec<u8>,
    is_websocket: bool,
}

/// Appends that wait for the next write to the disk.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    appends: Vec<Waiter>,
}

struct Waiter {
    connection: usize,
    run: usize,
    end: usize,
    lines: bool,
}

/// Serves until the process is killed.
pub(crate) fn serve(settings: &FloorSettings) -> Result<()> {
    let listener: OwnedFd = TcpListener::bind(settings.listen)
        .with_context(|| format!("the floor cannot listen on {}", settings.listen))?
        .into();
    rustix::net::listen(&listener, BACKLOG)?;
    rustix::io::ioctl_fionbio(&listener, true)?;
    let disk = settings.disk.as_deref().map(Disk::create).transpose()?;
    let poller = Poller::new()?;
    poller.watch_input(&listener, LISTENER)?;
    let mut floor = Floor {
        poller,
        listener,
        connections: Vec::new(),
        free: Vec::new(),
        runs: Vec::new(),
        names: HashMap::new(),
        disk,
        waiting: Waiting::default(),
        buffer: vec![0; READ_BYTES],
        is_websocket: settings.websocket,
    };
    loop {
        floor.turn()?;
    }
}

impl Floor {
    fn turn(&mut self) -> Result<()> {
        self.poller.wait(None)?;
        for at in 0..self.poller.ready_count() {
            let ready = self.poller.ready(at);
            if ready.token == LISTENER {
                self.accept()?;
                continue;
            }
            let connection = usize::try_from(ready.token)?;
            if ready.writable {
                self.flush(connection);
            }
            if ready.readable {
                self.read(connection)?;
            }
        }
        if !self.waiting.appends.is_empty() {
            self.commit()?;
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = match rustix::net::accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(error) => return Err(error).context("the floor cannot accept"),
            };
            sockopt::set_tcp_nodelay(&socket, true)?;
            let at = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            self.poller.watch(&socket, at as u64)?;
            self.connections[at] = Some(Connection::new(socket));
        }
    }

    fn read(&mut self, at: usize) -> Result<()> {
        loop {
            let Some(connection) = &mut self.connections[at] else { return Ok(()) };
            match receive(&connection.socket, &mut self.buffer) {
                Ok(Received::Bytes(count)) => {
                    connection.input.extend_from_slice(&self.buffer[..count]);
                    self.answer_requests(at)?;
                    if count < self.buffer.len() {
                        return Ok(());
                    }
                }
                Ok(Received::Nothing) => return Ok(()),
                Ok(Received::End) | Err(_) => {
                    self.close(at);
                    return Ok(());
                }
            }
        }
    }

    fn close(&mut self, at: usize) {
        let Some(connection) = self.connections[at].take() else { return };
        if let Part::Following { run, .. } = connection.part {
            let followers = &mut self.runs[run].followers;
            if let Some(place) = followers.iter().position(|&follower| follower == at) {
                followers.swap_remove(place);
            }
        }
        self.free.push(at);
    }

    fn answer_requests(&mut self, at: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[at] else { return Ok(()) };
        let mut input = std::mem::take(&mut connection.input);
        let mut taken = 0;
        while let Some((ask, length)) = match &self.connections[at] {
            Some(Connection { part: Part::Upgraded, .. }) => parse_subscribe(&input[taken..])?,
            _ => parse_request(&input[taken..])?,
        } {
            self.answer(at, ask)?;
            taken += length;
        }
        let following =
            matches!(&self.connections[at], Some(Connection { part: Part::Following { .. }, .. }));
        if following {
            input = Vec::new();
        } else {
            input.drain(..taken);
        }
        if let Some(connection) = &mut self.connections[at] {
            connection.input = input;
        }
        Ok(())
    }

    fn run(&mut self, name: &str) -> usize {
        if let Some(&run) = self.names.get(name) {
            return run;
        }
        self.runs.push(Run::new(self.is_websocket.then_some(name)));
        self.names.insert(name.to_owned(), self.runs.len() - 1);
        self.runs.len() - 1
    }

    fn answer(&mut self, at: usize, ask: Ask<'_>) -> Result<()> {
        match ask {
            Ask::Append { run, body, lines } => {
                let run = self.run(run);
                self.waiting.bytes.extend_from_slice(body);
                let end = self.waiting.bytes.len();
                self.waiting.appends.push(Waiter { connection: at, run, end, lines });
            }
            Ask::Upgrade => {
                if let Some(connection) = &mut self.connections[at] {
                    connection.part = Part::Upgraded;
                    write_parts(connection, upgrade_head().as_bytes(), b"");
                }
            }
            Ask::Follow { run, after } => {
                let run = self.run(run);
                let sent = self.runs[run].place_after(after);
                self.runs[run].followers.push(at);
                if let Some(connection) = &mut self.connections[at] {
                    connection.part = Part::Following { run, sent };
                }
                if self.is_websocket {
                    self.follow(at, &subscribed());
                } else {
                    self.follow(at, FOLLOW_HEAD);
                }
            }
            Ask::Page { run, after, limit } => {
                let run = self.run(run);
                let run = &self.runs[run];
                let page = run.place_after(after)..run.place_after(after.saturating_add(limit));
                let head = answer_head(page.len());
                if let Some(connection) = &mut self.connections[at] {
                    write_parts(connection, &head, &run.frames[page]);
                }
            }
            Ask::Other => {
                let body = b"{\"runs\":[],\"next\":null}";
                if let Some(connection) = &mut self.connections[at] {
                    write_parts(connection, &answer_head(body.len()), body);
                }
            }
        }
        Ok(())
    }

    /// Makes all waiting appends durable, answers them, and writes them to their followers.
    fn commit(&mut self) -> Result<()> {
        let Waiting { bytes, appends } = std::mem::take(&mut self.waiting);
        if let Some(disk) = &mut self.disk {
            disk.write(&bytes)?;
        }
        let mut begin = 0;
        let mut changed: Vec<usize> = Vec::new();
        for append in &appends {
            let body = &bytes[begin..append.end];
            begin = append.end;
            let run = &mut self.runs[append.run];
            let first = run.last() + 1;
            if append.lines {
                body.split(|&byte| byte == b'\n')
                    .filter(|line| !line.is_empty())
                    .for_each(|line| run.push(line));
            } else {
                run.push(body);
            }
            changed.push(append.run);
            let last = run.last();
            if let Some(connection) = &mut self.connections[append.connection] {
                let stored = last + 1 - first;
                let body = format!(
                    "{{\"run\":\"x\",\"epoch\":1,\"first\":{first},\"last\":{last},\"stored\":{stored},\"duplicates\":0}}"
                );
                write_parts(connection, &answer_head(body.len()), body.as_bytes());
            }
        }
        changed.sort_unstable();
        changed.dedup();
        for run in changed {
            for follower in 0..self.runs[run].followers.len() {
                self.follow(self.runs[run].followers[follower], b"");
            }
        }
        self.waiting = Waiting { bytes, appends };
        self.waiting.bytes.clear();
        self.waiting.appends.clear();
        Ok(())
    }

    fn flush(&mut self, at: usize) {
        let Some(connection) = &mut self.connections[at] else { return };
        if !connection.output.is_empty() {
            if let Ok(sent) = send(&connection.socket, &connection.output) {
                connection.output.drain(..sent);
            }
        } else if matches!(connection.part, Part::Following { .. }) {
            self.follow(at, b"");
        }
    }

    /// Writes a follower what it has not been written yet, behind `head`.
    fn follow(&mut self, at: usize, head: &[u8]) {
        let Some(connection) = &mut self.connections[at] else { return };
        let Part::Following { run, sent } = &mut connection.part else { return };
        let frames = &self.runs[*run].frames[*sent..];
        if head.is_empty() {
            if !frames.is_empty()
                && let Ok(count) = send(&connection.socket, frames)
            {
                *sent += count;
            }
            return;
        }
        let parts = [IoSlice::new(head), IoSlice::new(frames)];
        if let Ok(count) = rustix::io::writev(&connection.socket, &parts) {
            *sent += count.saturating_sub(head.len());
        }
    }
}

/// A message as long as the server's.
fn subscribed() -> Vec<u8> {
    let text = br#"{"type":"subscribed","run":"r","cursor":"0","last":"0"}"#;
    let mut message = Vec::with_capacity(text.len() + 2);
    websocket::write_text_head(&mut message, text.len());
    message.extend_from_slice(text);
    message
}

fn upgrade_head() -> String {
    let accept = websocket::ACCEPT;
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: {accept}\r\nsec-websocket-protocol: runcast.v1\r\n\r\n"
    )
}

fn answer_head(body_bytes: usize) -> Vec<u8> {
    let mut head = Vec::with_capacity(96);
    let _ = write!(
        head,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {body_bytes}\r\n\r\n"
    );
    head
}

/// Writes an answer at once; what does not fit waits until the socket takes more.
fn write_parts(connection: &mut Connection, head: &[u8], body: &[u8]) {
    let mut sent = 0;
    if connection.output.is_empty() {
        let parts = [IoSlice::new(head), IoSlice::new(body)];
        sent = rustix::io::writev(&connection.socket, &parts).unwrap_or(0);
    }
    connection.output.extend_from_slice(head.get(sent..).unwrap_or(b""));
    let sent_of_body = sent.saturating_sub(head.len());
    connection.output.extend_from_slice(&body[sent_of_body..]);
}
