//! Hostile frames, and heads that ask for an upgrade.

use runcast_fuzz::fuzz;

use super::{Close, FrameReader, MESSAGE_BYTES_MAX, Received};

const FRAMES: &[&[u8]] = &[
    b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
    b"\x01\x82\0\0\0\0hi\x89\x81\0\0\0\0p\x80\x81\0\0\0\0!",
    b"\x88\x82\0\0\0\0\x03\xe8",
    b"\x81\xfe\0\x80\0\0\0\0xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
];

const WORDS: &[&[u8]] = &[
    b"\x81\x80\0\0\0\0",
    b"\x01\x80\0\0\0\0",
    b"\x80\x80\0\0\0\0",
    b"\x89\xfe",
    b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x81\xff\0\0\0\0\0\x10\0\x01\0\0\0\0",
    b"\xf0\x9f",
    b"\xff",
    b"\0",
];

type All = (Vec<Received>, Result<(), Close>);

/// Reads until an error or a close, behind which a reader is not used any more.
fn read(input: &[u8], size: usize) -> All {
    let mut reader = FrameReader::new(MESSAGE_BYTES_MAX);
    let mut found = Vec::new();
    for mut piece in input.chunks(size) {
        loop {
            match reader.next(&mut piece) {
                Ok(None) => break,
                Ok(Some(received)) => {
                    let is_close = matches!(received, Received::Close(_));
                    found.push(received);
                    if is_close {
                        return (found, Ok(()));
                    }
                }
                Err(close) => return (found, Err(close)),
            }
        }
    }
    // What is kept is what has come, whatever was announced.
    assert!(reader.buffered_bytes() <= 2 * input.len() + 16);
    (found, Ok(()))
}

#[test]
fn messages_are_the_same_however_their_frames_are_cut() {
    fuzz(FRAMES, WORDS, |input| {
        let whole = read(input, input.len().max(1));
        for size in [1, 2, 7] {
            assert_eq!(read(input, size), whole, "in pieces of {size}");
        }
    });
}
