//! A connection's socket as the HTTP library sees it: first the bytes that were read already, then
//! the rest; and a client that takes nothing for too long is gone.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::Wire;

pub(super) struct Socket {
    stream: Arc<TcpStream>,
    /// Read before, not given yet.
    read_before: Bytes,
    stall_timeout: Duration,
    /// Runs while a write waits for the client.
    stalled: Option<Pin<Box<Sleep>>>,
    wire: Arc<Wire>,
}

impl Socket {
    pub(super) fn new(
        stream: Arc<TcpStream>,
        read_before: Bytes,
        stall_timeout: Duration,
        wire: Arc<Wire>,
    ) -> Self {
        Self { stream, read_before, stall_timeout, stalled: None, wire }
    }

    /// What was read before and nobody has taken.
    pub(super) fn read_before(&self) -> &[u8] {
        &self.read_before
    }

    fn poll_write_with(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.stream.poll_write_ready(cx)?.is_pending() {
                ready!(self.poll_stalled(cx));
                self.wire.gives_up(self.stall_timeout);
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            match write(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(length) => {
                    self.stalled = None;
                    self.wire.wrote(length);
                    return Poll::Ready(Ok(length));
                }
                Err(error) => {
                    self.wire.broke();
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = self.stall_timeout;
        let timer = self.stalled.get_or_insert_with(|| {
            self.wire.waits();
            Box::pin(tokio::time::sleep(timeout))
        });
        timer.as_mut().poll(cx)
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.read_before.is_empty() {
            let length = self.read_before.len().min(buffer.remaining());
            buffer.put_slice(&self.read_before[..length]);
            self.read_before.advance(length);
            if self.read_before.is_empty() {
                // Gives the buffer back, which an idle connection would keep.
                self.read_before = Bytes::new();
            }
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read_buf(buffer) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    // The write that waits fails for the same reason, if it is tried at all.
                    if self.stalled.is_some() {
                        self.wire.broke();
                    }
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match SockRef::from(&*self.stream).shutdown(Shutdown::Write) {
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(())),
        }
    }
}
