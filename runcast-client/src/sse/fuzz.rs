//! Hostile streams of frames.

use runcast_fuzz::fuzz;

use super::{FRAME_BYTES_MAX, Frame, FrameReader};

const STREAMS: &[&[u8]] = &[
    b"retry: 1000\n\n:\n\nid: 1\ndata: {\"offset\":1,\"type\":\"a.b\"}\n\n",
    b"id: 2.9\n\nevent: end\ndata: {\"offset\":9,\"type\":\"run.completed\"}\n\n",
    b"\xef\xbb\xbfid:7\r\nevent:a.b\r\ndata\r\ndata: x\r\n\r\n",
];

const WORDS: &[&[u8]] = &[
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"id",
    b"id: \0\n",
    b"data:",
    b"event: gap\n",
    b"\xef\xbb\xbf",
    b"\xff",
    b":",
];

fn read(pieces: impl Iterator<Item = impl AsRef<[u8]>>) -> Vec<Frame> {
    let mut reader = FrameReader::default();
    let mut frames = Vec::new();
    for piece in pieces {
        reader.push(piece.as_ref());
        while let Some(frame) = reader.next_frame().expect("no frame here is too large") {
            frames.push(frame);
        }
    }
    frames
}

#[test]
fn frames_are_the_same_however_a_stream_is_cut() {
    fuzz(STREAMS, WORDS, |input| {
        assert!(input.len() < FRAME_BYTES_MAX);
        let whole = read([input].iter());
        for size in [1, 2, 3, 7] {
            assert_eq!(read(input.chunks(size)), whole, "in pieces of {size}");
        }
        assert!(whole.iter().all(|frame| !frame.event.contains(['\n', '\r'])));
    });
}
