//! As much WebSocket (RFC 6455) as the generator needs: whole messages out of bytes as they come,
//! and frames that a client sends.

use anyhow::{Result, ensure};

/// What asks for an upgrade, as whole lines. The key is that of the standard's example: nobody here
/// needs to be told apart.
pub(crate) const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: runcast.v1\r\n";

/// What the key of [`UPGRADE`] is answered with.
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Where a server's WebSockets are.
pub(crate) const PATH: &str = "/v1/ws";

/// A message may be this long, in bytes, beside one large event.
const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Something that a server sent in whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    /// The code, 1005 when there is none.
    Close(u16),
}

/// The bytes of a server that are no whole message yet. Keeps nothing between two.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    begun: Vec<u8>,
}

impl Messages {
    /// Takes the next bytes and gives each message that they complete.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        mut message: impl FnMut(Message<'_>),
    ) -> Result<()> {
        if self.begun.is_empty() {
            let taken = read(bytes, &mut message)?;
            self.begun.extend_from_slice(&bytes[taken..]);
            return Ok(());
        }
        let mut begun = std::mem::take(&mut self.begun);
        begun.extend_from_slice(bytes);
        let taken = read(&begun, &mut message)?;
        if taken < begun.len() {
            begun.drain(..taken);
            self.begun = begun;
        }
        Ok(())
    }
}

/// Gives all whole messages at the front of `bytes`, and answers how long they are.
fn read(bytes: &[u8], message: &mut impl FnMut(Message<'_>)) -> Result<usize> {
    let mut taken = 0;
    while let Some((first, payload, length)) = frame(&bytes[taken..])? {
        ensure!(first & FINAL != 0 && first & 0x70 == 0, "a frame begins with {first:#04x}");
        message(match first & 0x0f {
            TEXT => Message::Text(payload),
            PING => Message::Ping(payload),
            PONG => Message::Pong,
            CLOSE => Message::Close(match payload {
                [high, low, ..] => u16::from_be_bytes([*high, *low]),
                _ => 1005,
            }),
            other => anyhow::bail!("a frame has the opcode {other}"),
        });
        taken += length;
    }
    Ok(taken)
}

/// The frame at the front of `bytes`: its first byte, its payload and its whole length.
fn frame(bytes: &[u8]) -> Result<Option<(u8, &[u8], usize)>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    ensure!(second & MASKED == 0, "a server masks nothing");
    let (length, head) = match (second, rest) {
        (126, [high, low, ..]) => (u64::from(u16::from_be_bytes([*high, *low])), 4),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 10)
        }
        (126 | 127, _) => return Ok(None),
        (short, _) => (u64::from(*short), 2),
    };
    let length = usize::try_from(length)?;
    ensure!(length <= MESSAGE_BYTES_MAX, "a message has {length} bytes");
    let payload = bytes.get(head..head + length);
    Ok(payload.map(|payload| (*first, payload, head + length)))
}

/// A text message from a client.
pub(crate) fn client_text(text: &str) -> Vec<u8> {
    client_frame(TEXT, text.as_bytes())
}

/// The answer to a ping.
pub(crate) fn client_pong(payload: &[u8]) -> Vec<u8> {
    client_frame(PONG, payload)
}

/// A frame with the mask 0, which changes nothing.
fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 14);
    write_head(&mut out, opcode, MASKED, payload.len());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    out
}

/// Writes what stands before the payload of a server's text message.
pub(crate) fn write_text_head(out: &mut Vec<u8>, length: usize) {
    write_head(out, TEXT, 0, length);
}

fn write_head(out: &mut Vec<u8>, opcode: u8, masked: u8, length: usize) {
    out.push(FINAL | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => out.push(masked | short),
        (_, Ok(medium)) => {
            out.push(masked | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut messages, mut found) = (Messages::default(), Vec::new());
        for piece in pieces {
            let take = |message: Message<'_>| match message {
                Message::Text(text) => found.push(text.to_vec()),
                other => found.push(format!("{other:?}").into_bytes()),
            };
            messages.take(piece, take).unwrap();
        }
        assert_eq!(messages.begun.capacity(), 0);
        found
    }

    #[test]
    fn messages_of_every_length_are_read_wherever_they_are_cut() {
        let mut bytes = Vec::new();
        let lengths = [0, 1, 125, 126, 127, 300, 65_535, 65_536];
        for length in lengths {
            write_text_head(&mut bytes, length);
            bytes.resize(bytes.len() + length, b'x');
        }
        bytes.extend_from_slice(&[0x88, 2, 3, 0xf4]);
        for cut in (0..bytes.len()).filter(|cut| *cut < 1_000 || cut % 997 == 0) {
            let found = texts(&[&bytes[..cut], &bytes[cut..]]);
            assert_eq!(found.len(), lengths.len() + 1);
            assert!(found.iter().zip(lengths).all(|(text, length)| text.len() == length));
            assert_eq!(found[lengths.len()], b"Close(1012)");
        }
    }

    #[test]
    fn a_client_masks_what_it_sends() {
        assert_eq!(client_text("hi"), [0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
    }
}
