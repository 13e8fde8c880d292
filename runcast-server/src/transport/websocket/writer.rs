//! Writes a server's frames: whole, unmasked, so that all readers can share their bytes.

use bytes::Bytes;

use super::{CONTROL_BYTES_MAX, Close};

/// The longest head of a frame without a mask.
const HEAD_BYTES_MAX: usize = 10;

/// Writes one message, whose text `write` adds to what it is given.
pub(crate) fn text(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES_MAX]);
    let payload = out.len();
    write(out);
    let length = out.len() - payload;
    let mut head = [0; HEAD_BYTES_MAX];
    let head_length = write_head(0x1, length, &mut head);
    out[start..start + head_length].copy_from_slice(&head[..head_length]);
    if head_length < HEAD_BYTES_MAX {
        out.copy_within(payload.., start + head_length);
        out.truncate(start + head_length + length);
    }
}

fn write_head(opcode: u8, length: usize, head: &mut [u8; HEAD_BYTES_MAX]) -> usize {
    head[0] = 0x80 | opcode;
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => {
            head[1] = short;
            2
        }
        (_, Ok(medium)) => {
            head[1] = 126;
            head[2..4].copy_from_slice(&medium.to_be_bytes());
            4
        }
        _ => {
            head[1] = 127;
            head[2..].copy_from_slice(&(length as u64).to_be_bytes());
            HEAD_BYTES_MAX
        }
    }
}

/// Asks whether the client is there.
pub(crate) const fn ping() -> Bytes {
    Bytes::from_static(&[0x89, 0])
}

/// Answers a ping, whose bytes are those of a control frame.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    control(0xa, payload)
}

/// Says that nothing more comes, and why.
pub(crate) fn close(close: &Close) -> Bytes {
    let Some(code) = close.code() else { return control(0x8, &[]) };
    let reason = close.reason();
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    control(0x8, &payload)
}

fn control(opcode: u8, payload: &[u8]) -> Bytes {
    debug_assert!(payload.len() <= CONTROL_BYTES_MAX, "a control frame is short");
    let mut head = [0; HEAD_BYTES_MAX];
    let head_length = write_head(opcode, payload.len(), &mut head);
    [&head[..head_length], payload].concat().into()
}
