//! Takes the framing off an HTTP/1.1 body that arrives in pieces.
//!
//! Hands out slices of what it is given; copies and keeps nothing.

/// How much of a body is still to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// So many more bytes.
    Length(u64),
    /// Chunks, until an empty one.
    Chunked(Chunk),
    /// All that comes until the connection closes.
    UntilClose,
}

/// Where in the chunked framing the next byte falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// In the digits of a size.
    Size {
        /// The size so far.
        size: u64,
    },
    /// Behind the digits, before the line feed.
    SizeEnd {
        /// The size.
        size: u64,
    },
    /// In the bytes.
    Data {
        /// How many more there are.
        left: u64,
    },
    /// In the line end behind the bytes.
    DataEnd,
    /// In the lines behind the last chunk.
    Trailer {
        /// Whether this line has no bytes yet.
        empty: bool,
    },
    /// Behind the body.
    Done,
}

/// The framing was broken: this byte cannot stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BrokenFraming(pub(crate) u8);

impl std::fmt::Display for BrokenFraming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "byte {:#04x} breaks the chunked framing of an answer", self.0)
    }
}

impl std::error::Error for BrokenFraming {}

impl Body {
    /// A chunked body of which nothing has come.
    pub(crate) const CHUNKED: Self = Self::Chunked(Chunk::Size { size: 0 });

    /// Whether nothing more belongs to this body.
    pub(crate) fn is_done(self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Done))
    }

    /// Takes `input`, gives each piece of content to `piece`, and answers how much was taken:
    /// less than all only when the body ended.
    pub(crate) fn take(
        &mut self,
        input: &[u8],
        mut piece: impl FnMut(&[u8]),
    ) -> Result<usize, BrokenFraming> {
        match self {
            Self::UntilClose => {
                piece(input);
                Ok(input.len())
            }
            Self::Length(left) => {
                let taken = at_most(*left, input.len());
                *left -= taken as u64;
                if taken > 0 {
                    piece(&input[..taken]);
                }
                Ok(taken)
            }
            Self::Chunked(chunk) => {
                let mut taken = 0;
                while taken < input.len() && *chunk != Chunk::Done {
                    taken += chunk.step(&input[taken..], &mut piece)?;
                }
                Ok(taken)
            }
        }
    }
}

impl Chunk {
    /// Takes at least one byte of `input`, which is not empty.
    fn step(
        &mut self,
        input: &[u8],
        piece: &mut impl FnMut(&[u8]),
    ) -> Result<usize, BrokenFraming> {
        let byte = input[0];
        let mut taken = 1;
        *self = match (*self, byte) {
            (Self::Size { size }, b'\r' | b';' | b' ') => Self::SizeEnd { size },
            (Self::Size { size }, _) => {
                let digit = char::from(byte).to_digit(16).ok_or(BrokenFraming(byte))?;
                let size = size.checked_mul(16).ok_or(BrokenFraming(byte))?;
                Self::Size { size: size + u64::from(digit) }
            }
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Trailer { empty: true },
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: size },
            (Self::Data { left }, _) => {
                taken = at_most(left, input.len());
                piece(&input[..taken]);
                match left - taken as u64 {
                    0 => Self::DataEnd,
                    left => Self::Data { left },
                }
            }
            (Self::DataEnd, b'\n') => Self::Size { size: 0 },
            (Self::DataEnd, b'\r') | (Self::SizeEnd { .. } | Self::Done, _) => *self,
            (Self::DataEnd, _) => return Err(BrokenFraming(byte)),
            (Self::Trailer { empty: true }, b'\n') => Self::Done,
            (Self::Trailer { .. }, b'\n') => Self::Trailer { empty: true },
            (Self::Trailer { empty }, b'\r') => Self::Trailer { empty },
            (Self::Trailer { .. }, _) => Self::Trailer { empty: false },
        };
        Ok(taken)
    }
}

fn at_most(left: u64, available: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(available)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &[u8] =
        b"5\r\nhello\r\n1;ext=1\r\n \r\nA\r\nworld12345\r\n0\r\nx: y\r\n\r\nNEXT";

    fn content(body: &mut Body, pieces: &[&[u8]]) -> (Vec<u8>, usize) {
        let mut out = Vec::new();
        let mut taken = 0;
        for piece in pieces {
            taken += body.take(piece, |bytes| out.extend_from_slice(bytes)).unwrap();
        }
        (out, taken)
    }

    #[test]
    fn chunks_are_joined_wherever_the_input_is_cut() {
        let whole = CHUNKED.len() - b"NEXT".len();
        for cut in 0..whole {
            let mut body = Body::CHUNKED;
            let (out, taken) = content(&mut body, &[&CHUNKED[..cut], &CHUNKED[cut..]]);
            assert_eq!(out, b"hello world12345", "cut at {cut}");
            assert_eq!(taken, whole, "cut at {cut}");
            assert!(body.is_done(), "cut at {cut}");
        }
    }

    #[test]
    fn chunks_are_joined_byte_by_byte() {
        let pieces: Vec<&[u8]> = CHUNKED.chunks(1).collect();
        let mut body = Body::CHUNKED;
        assert_eq!(content(&mut body, &pieces).0, b"hello world12345");
    }

    #[test]
    fn a_length_ends_the_body() {
        let mut body = Body::Length(5);
        let (out, taken) = content(&mut body, &[b"he", b"llo and more"]);
        assert_eq!((out.as_slice(), taken), (b"hello".as_slice(), 5));
        assert!(body.is_done());
    }

    #[test]
    fn an_open_body_takes_everything() {
        let mut body = Body::UntilClose;
        assert_eq!(content(&mut body, &[b"a", b"b"]).0, b"ab");
        assert!(!body.is_done());
    }

    #[test]
    fn broken_framing_is_refused() {
        let mut body = Body::CHUNKED;
        assert_eq!(body.take(b"zz\r\n", |_| {}), Err(BrokenFraming(b'z')));
        let mut body = Body::CHUNKED;
        assert_eq!(body.take(b"1\r\nab", |_| {}), Err(BrokenFraming(b'b')));
    }
}
