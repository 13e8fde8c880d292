//! One publishing connection: at most one request under way.

use std::io::Write as _;
use std::net::SocketAddrV4;
use std::os::fd::OwnedFd;

use anyhow::{Result, bail};

use super::answer::{AnswerReader, Answered};
use crate::clock::Stamp;
use crate::event::{EVENT_BYTES, write_event};
use crate::wire::socket::{Received, connect, receive, send};

/// How much is read at once, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// A request that has not been answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnderWay {
    /// Its run.
    pub(super) run: usize,
    /// When it was due.
    pub(super) due: Stamp,
}

/// A socket and what is under way on it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    pub(super) under_way: Option<UnderWay>,
    request: Vec<u8>,
    sent: usize,
    answer: AnswerReader,
}

impl Connection {
    pub(super) fn open(address: SocketAddrV4) -> Result<Self> {
        Ok(Self {
            socket: connect(address)?,
            under_way: None,
            request: Vec::new(),
            sent: 0,
            answer: AnswerReader::default(),
        })
    }

    /// Begins a request.
    pub(super) fn begin(
        &mut self,
        address: SocketAddrV4,
        name: &str,
        events: usize,
        under_way: UnderWay,
    ) -> Result<()> {
        let (kind, bytes) = match events {
            1 => ("json", EVENT_BYTES),
            _ => ("x-ndjson", events * (EVENT_BYTES + 1)),
        };
        self.request.clear();
        write!(
            self.request,
            "POST /v1/runs/{name}/events HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/{kind}\r\nContent-Length: {bytes}\r\n\r\n"
        )?;
        for _ in 0..events {
            write_event(&mut self.request, under_way.due);
            if events > 1 {
                self.request.push(b'\n');
            }
        }
        self.sent = 0;
        self.under_way = Some(under_way);
        self.write()
    }

    /// Writes what is left of the request, as far as it fits.
    pub(super) fn write(&mut self) -> Result<()> {
        while self.sent < self.request.len() {
            match send(&self.socket, &self.request[self.sent..])? {
                0 => break,
                count => self.sent += count,
            }
        }
        Ok(())
    }

    /// Reads what there is; gives the answer when it is whole.
    pub(super) fn read(&mut self) -> Result<Option<(UnderWay, Answered)>> {
        let mut buffer = [0; READ_BYTES];
        loop {
            let count = match receive(&self.socket, &mut buffer)? {
                Received::Bytes(count) => count,
                Received::Nothing => return Ok(None),
                Received::End => bail!("the server closed a publishing connection"),
            };
            if let Some(answered) = self.answer.take(&buffer[..count])? {
                let Some(under_way) = self.under_way.take() else {
                    bail!("the server answered what was not asked");
                };
                return Ok(Some((under_way, answered)));
            }
        }
    }
}
