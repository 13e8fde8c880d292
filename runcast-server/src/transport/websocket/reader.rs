//! Reads a client's frames, however they are cut, and puts messages together.
//!
//! Strict: what RFC 6455 forbids is a [`Close`] and not a guess. Memory is what has arrived of one
//! message, within its limit; nothing is reserved for what is only announced.

use super::{CONTROL_BYTES_MAX, Close};

/// A whole message or control frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A message.
    Text(String),
    /// To be answered with a pong of the same bytes.
    Ping(Vec<u8>),
    /// The answer to a ping.
    Pong,
    /// The client closes, with this code. Nothing comes after it.
    Close(Option<u16>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opcode {
    Continuation,
    Text,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The longest head of a frame.
const HEAD_BYTES_MAX: usize = 14;

#[derive(Debug)]
enum State {
    Head { bytes: [u8; HEAD_BYTES_MAX], have: usize },
    Payload { opcode: Opcode, is_final: bool, mask: [u8; 4], left: usize },
}

const NEXT_HEAD: State = State::Head { bytes: [0; HEAD_BYTES_MAX], have: 0 };

/// Reads frames. Behind an error or a close it must not be used any more.
#[derive(Debug)]
pub(crate) struct FrameReader {
    bytes_max: usize,
    state: State,
    /// Whether a message has begun and its last frame has not come.
    is_open: bool,
    message: Vec<u8>,
    control: Vec<u8>,
}

impl FrameReader {
    pub(crate) fn new(bytes_max: usize) -> Self {
        let (message, control) = (Vec::new(), Vec::new());
        Self { bytes_max, state: NEXT_HEAD, is_open: false, message, control }
    }

    /// Bytes that are kept for a message that is not whole.
    #[cfg(test)]
    pub(super) fn buffered_bytes(&self) -> usize {
        self.message.capacity() + self.control.capacity()
    }

    /// Takes bytes off the front of `input` until something is whole; none when `input` is used up.
    pub(crate) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Received>, Close> {
        loop {
            match &mut self.state {
                State::Head { bytes, have } => {
                    if *have < head_length(&bytes[..*have]) {
                        let Some((first, rest)) = input.split_first() else { return Ok(None) };
                        bytes[*have] = *first;
                        *have += 1;
                        *input = rest;
                    }
                    let (head, have) = (*bytes, *have);
                    self.check(&head[..have])?;
                    if have == head_length(&head[..have]) {
                        self.begin(&head[..have])?;
                    }
                }
                State::Payload { opcode, mask, left, .. } => {
                    let (part, rest) = input.split_at((*left).min(input.len()));
                    let whole =
                        if opcode.is_control() { &mut self.control } else { &mut self.message };
                    let start = whole.len();
                    whole.extend_from_slice(part);
                    unmask(&mut whole[start..], *mask);
                    // The mask goes on where this part ends.
                    mask.rotate_left(part.len() % 4);
                    *left -= part.len();
                    *input = rest;
                    if *left > 0 {
                        return Ok(None);
                    }
                    if let Some(received) = self.finish()? {
                        return Ok(Some(received));
                    }
                }
            }
        }
    }

    /// Checks what has come of a head, so that what is wrong is refused before the rest comes.
    fn check(&self, head: &[u8]) -> Result<(), Close> {
        let (Some(&first), second) = (head.first(), head.get(1)) else { return Ok(()) };
        if first & 0x70 != 0 {
            return Err(Close::Protocol("a reserved bit is set"));
        }
        let opcode = opcode(first)?;
        let is_final = first & 0x80 != 0;
        if opcode.is_control() && !is_final {
            return Err(Close::Protocol("a control frame is in fragments"));
        }
        match opcode {
            Opcode::Continuation if !self.is_open => {
                return Err(Close::Protocol("a continuation of nothing"));
            }
            Opcode::Text if self.is_open => {
                return Err(Close::Protocol("a message within a message"));
            }
            _ => {}
        }
        let Some(second) = second else { return Ok(()) };
        if second & 0x80 == 0 {
            return Err(Close::Protocol("a client's frame is not masked"));
        }
        if opcode.is_control() && usize::from(second & 0x7f) > CONTROL_BYTES_MAX {
            return Err(Close::Protocol("a control frame is too large"));
        }
        Ok(())
    }

    /// A head has come: what follows is its payload.
    fn begin(&mut self, head: &[u8]) -> Result<(), Close> {
        let opcode = opcode(head[0])?;
        let (length, mask) = head[1..].split_at(head.len() - 1 - 4);
        let length = match *length {
            [short] => u64::from(short & 0x7f),
            [_, high, low] => u64::from(u16::from_be_bytes([high, low])),
            _ => u64::from_be_bytes(length[1..].try_into().expect("a length of eight bytes")),
        };
        let is_shortest = match head.len() {
            6 => true,
            8 => length > 125,
            _ => length > u64::from(u16::MAX) && length >> 63 == 0,
        };
        if !is_shortest {
            return Err(Close::Protocol("a length is not written as short as it can be"));
        }
        let left = usize::try_from(length).map_err(|_| Close::TooLarge)?;
        if !opcode.is_control() && left > self.bytes_max - self.message.len() {
            return Err(Close::TooLarge);
        }
        let mask = mask.try_into().expect("a mask of four bytes");
        let is_final = head[0] & 0x80 != 0;
        self.state = State::Payload { opcode, is_final, mask, left };
        Ok(())
    }

    /// A frame has come to its end.
    fn finish(&mut self) -> Result<Option<Received>, Close> {
        let State::Payload { opcode, is_final, .. } = std::mem::replace(&mut self.state, NEXT_HEAD)
        else {
            return Ok(None);
        };
        match opcode {
            Opcode::Text | Opcode::Continuation => {
                self.is_open = !is_final;
                if !is_final {
                    return Ok(None);
                }
                let text = String::from_utf8(std::mem::take(&mut self.message));
                let text = text.map_err(|_| Close::Invalid("a message is not UTF-8"))?;
                Ok(Some(Received::Text(text)))
            }
            Opcode::Ping => Ok(Some(Received::Ping(std::mem::take(&mut self.control)))),
            Opcode::Pong => {
                self.control = Vec::new();
                Ok(Some(Received::Pong))
            }
            Opcode::Close => close_of(&self.control).map(|code| Some(Received::Close(code))),
        }
    }
}

fn opcode(first: u8) -> Result<Opcode, Close> {
    match first & 0x0f {
        0x0 => Ok(Opcode::Continuation),
        0x1 => Ok(Opcode::Text),
        0x2 => Err(Close::Binary),
        0x8 => Ok(Opcode::Close),
        0x9 => Ok(Opcode::Ping),
        0xa => Ok(Opcode::Pong),
        _ => Err(Close::Protocol("an opcode is not known")),
    }
}

/// How long the head is that begins so; longer than what is there as long as that is not known.
fn head_length(head: &[u8]) -> usize {
    match head.get(1).map(|second| second & 0x7f) {
        None => 2,
        Some(126) => 8,
        Some(127) => 14,
        Some(_) => 6,
    }
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let mut words = bytes.chunks_exact_mut(4);
    for word in &mut words {
        for (byte, key) in word.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= key;
    }
}

fn close_of(payload: &[u8]) -> Result<Option<u16>, Close> {
    match payload {
        [] => Ok(None),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
                return Err(Close::Protocol("a close code may not be sent"));
            }
            if std::str::from_utf8(reason).is_err() {
                return Err(Close::Invalid("the reason of a close is not UTF-8"));
            }
            Ok(Some(code))
        }
        _ => Err(Close::Protocol("a close code is one byte")),
    }
}
