use proptest::prelude::*;

use super::*;

/// A client's frame.
fn frame(opcode: u8, is_final: bool, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let mut out = vec![opcode | if is_final { 0x80 } else { 0 }];
    match payload.len() {
        short @ 0..=125 => out.push(0x80 | short as u8),
        medium @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

/// What comes out of bytes that arrive in these parts.
fn read_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Received>, Close> {
    let mut reader = FrameReader::new(MESSAGE_BYTES_MAX);
    let mut all = Vec::new();
    for mut part in parts {
        while let Some(received) = reader.next(&mut part)? {
            let is_last = matches!(received, Received::Close(_));
            all.push(received);
            if is_last {
                return Ok(all);
            }
        }
        assert!(part.is_empty(), "a reader that wants more has taken all");
    }
    Ok(all)
}

fn read(bytes: &[u8]) -> Result<Vec<Received>, Close> {
    read_parts([bytes])
}

fn close_code(bytes: &[u8]) -> u16 {
    read(bytes).unwrap_err().code().unwrap()
}

const MASK: [u8; 4] = [1, 2, 3, 4];

#[test]
fn a_message_may_come_in_fragments_with_control_frames_between() {
    let bytes = [
        frame(1, false, MASK, b"ab"),
        frame(9, true, MASK, b"are you there?"),
        frame(0, false, MASK, b""),
        frame(10, true, MASK, b""),
        frame(0, true, MASK, "\u{1F538}".as_bytes()),
        frame(8, true, MASK, b"\x03\xe8bye"),
        frame(1, true, MASK, b"not read"),
    ]
    .concat();
    let expected = [
        Received::Ping(b"are you there?".to_vec()),
        Received::Pong,
        Received::Text("ab\u{1F538}".into()),
        Received::Close(Some(1000)),
    ];
    assert_eq!(read(&bytes).unwrap(), expected);
    for cut in 0..=bytes.len() {
        assert_eq!(read_parts([&bytes[..cut], &bytes[cut..]]).unwrap(), expected, "{cut}");
    }
    assert_eq!(read_parts(bytes.chunks(1)).unwrap(), expected);
}

#[test]
fn what_the_standard_forbids_closes_the_connection() {
    let unmasked = [0x81, 0x01, b'x'];
    let long_form_of_short = [0x81, 0x80 | 126, 0, 5];
    let longest_form_of_short = [0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0, 1, 0];
    for (bytes, code) in [
        (unmasked.to_vec(), 1002),
        ([long_form_of_short.as_slice(), &MASK].concat(), 1002),
        ([longest_form_of_short.as_slice(), &MASK].concat(), 1002),
        (vec![0xc1], 1002),
        (vec![0x83], 1002),
        (vec![0x8b], 1002),
        (vec![0x09], 1002),
        (vec![0x89, 0xfe], 1002),
        (frame(0, true, MASK, b"x"), 1002),
        ([frame(1, false, MASK, b"x"), frame(1, true, MASK, b"x")].concat(), 1002),
        (frame(8, true, MASK, b"x"), 1002),
        (frame(8, true, MASK, &1005_u16.to_be_bytes()), 1002),
        (frame(8, true, MASK, b"\x03\xe8\xff"), 1007),
        (frame(1, true, MASK, b"\xff"), 1007),
        (frame(1, true, MASK, b"\xed\xa0\x80"), 1007),
        (vec![0x82], 1003),
    ] {
        assert_eq!(close_code(&bytes), code, "{bytes:x?}");
    }
}

#[test]
fn a_message_over_the_limit_is_refused_when_it_is_announced() {
    let head = |length: u64| {
        let length = length.to_be_bytes();
        [&[0x81, 0x80 | 127][..], &length, &MASK].concat()
    };
    assert_eq!(close_code(&head(MESSAGE_BYTES_MAX as u64 + 1)), 1009);
    assert_eq!(close_code(&head(1 << 40)), 1009);
    assert_eq!(close_code(&head(1 << 63)), 1002);
    assert_eq!(read(&head(MESSAGE_BYTES_MAX as u64)), Ok(vec![]));
    let half = vec![b'x'; MESSAGE_BYTES_MAX / 2 + 1];
    let in_fragments = [frame(1, false, MASK, &half), frame(0, true, MASK, &half)].concat();
    assert_eq!(close_code(&in_fragments), 1009);
    let whole = vec![b'x'; MESSAGE_BYTES_MAX];
    assert_eq!(read(&frame(1, true, MASK, &whole)).unwrap().len(), 1);
}

#[test]
fn a_reader_that_waits_for_a_frame_holds_no_buffer() {
    let mut reader = FrameReader::new(MESSAGE_BYTES_MAX);
    let bytes = [frame(1, true, MASK, &[b'x'; 100_000]), frame(9, true, MASK, b"x")].concat();
    let mut input = bytes.as_slice();
    while reader.next(&mut input).unwrap().is_some() {}
    assert_eq!(reader.buffered_bytes(), 0);
    assert!(size_of::<FrameReader>() <= 128);
}

/// Every reason, with its code.
fn closes() -> [(Close, Option<u16>); 8] {
    [
        (Close::Answer(None), None),
        (Close::Answer(Some(4000)), Some(4000)),
        (Close::Protocol("a length is not written as short as it can be"), Some(1002)),
        (Close::Binary, Some(1003)),
        (Close::Invalid("a message is not JSON"), Some(1007)),
        (Close::TooLarge, Some(1009)),
        (Close::Restart(std::time::Duration::from_millis(u64::MAX)), Some(1012)),
        (Close::Silent, Some(4100)),
    ]
}

#[test]
fn every_reason_fits_into_a_close_frame() {
    for (reason, code) in closes() {
        let frame = close(&reason);
        assert_eq!((frame[0], usize::from(frame[1])), (0x88, frame.len() - 2));
        let sent = frame.get(2..4).map(|code| u16::from_be_bytes([code[0], code[1]]));
        assert_eq!(sent, code);
    }
}

#[test]
fn the_document_names_exactly_the_codes_that_the_server_sends() {
    let document = include_str!("../../../../protocol/PROTOCOL.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let sent = rows.filter_map(|(code, rest)| {
        let is_sent = rest.split(" | ").nth(1) == Some("the server");
        is_sent.then(|| code.parse::<u16>().unwrap())
    });
    let own = closes().into_iter().filter(|(reason, _)| !matches!(reason, Close::Answer(_)));
    assert_eq!(sent.collect::<Vec<_>>(), own.filter_map(|(_, code)| code).collect::<Vec<_>>());
}

/// Takes a server's frames apart.
pub(super) fn payloads(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        let (length, rest) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            127 => (u64::from_be_bytes(rest[..8].try_into().unwrap()) as usize, &rest[8..]),
            short => (usize::from(*short), rest),
        };
        all.push((*first, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    all
}

proptest! {
    #[test]
    fn a_message_comes_out_as_it_went_in_however_it_is_cut(
        texts in prop::collection::vec(any::<String>(), 1..4),
        mask in any::<[u8; 4]>(),
        fragment in 1_usize..200,
        chunk in 1_usize..64,
    ) {
        let mut bytes = Vec::new();
        for text in &texts {
            let count = text.len().div_ceil(fragment).max(1);
            let mut rest = text.as_bytes();
            for at in 0..count {
                let (part, after) = rest.split_at(fragment.min(rest.len()));
                rest = after;
                bytes.extend(frame(u8::from(at == 0), at + 1 == count, mask, part));
                bytes.extend(frame(9, true, mask, b"ping"));
            }
        }
        let received = read_parts(bytes.chunks(chunk)).unwrap();
        let read: Vec<_> = received.into_iter().filter_map(|received| match received {
            Received::Text(text) => Some(text),
            _ => None,
        }).collect();
        prop_assert_eq!(read, texts);
    }

    #[test]
    fn random_bytes_never_panic_and_never_hold_more_than_came(
        bytes in prop::collection::vec(any::<u8>(), 0..300), chunk in 1_usize..20,
    ) {
        let mut reader = FrameReader::new(200);
        'all: for mut part in bytes.chunks(chunk) {
            loop {
                match reader.next(&mut part) {
                    Ok(Some(Received::Close(_))) | Err(_) => break 'all,
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                }
            }
        }
        prop_assert!(reader.buffered_bytes() <= 2 * bytes.len() + 64);
    }

    #[test]
    fn random_frames_never_panic(
        frames in prop::collection::vec(
            (0_u8..16, any::<bool>(), any::<[u8; 4]>(), prop::collection::vec(any::<u8>(), 0..140)),
            0..8,
        ),
    ) {
        let bytes: Vec<u8> = frames
            .iter()
            .flat_map(|(opcode, is_final, mask, payload)| frame(*opcode, *is_final, *mask, payload))
            .collect();
        prop_assert_eq!(read(&bytes), read_parts(bytes.chunks(1)));
    }

    #[test]
    fn a_written_message_has_the_shortest_head(length in prop_oneof![0_usize..300, 65_000_usize..66_000]) {
        let payload = vec![b'x'; length];
        let mut out = b"before".to_vec();
        text(&mut out, |out| out.extend_from_slice(&payload));
        let frame = &out[6..];
        prop_assert_eq!(frame.len() - length, if length < 126 { 2 } else if length < 65_536 { 4 } else { 10 });
        prop_assert_eq!(payloads(frame), vec![(0x81, payload)]);
    }
}

#[test]
fn the_frames_of_the_protocols_cases_are_what_they_say() {
    let cases = include_str!("../../../../protocol/cases/frames.json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(cases).unwrap();
    for case in cases {
        let hex = case["hex"].as_str().unwrap();
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
        let bytes: Vec<u8> = bytes.collect::<Result<_, _>>().unwrap();
        match read(&bytes) {
            Ok(received) => {
                let told = received.iter().map(|received| match received {
                    Received::Text(text) => serde_json::json!({"text": text}),
                    Received::Ping(payload) => {
                        let hex: String =
                            payload.iter().map(|byte| format!("{byte:02x}")).collect();
                        serde_json::json!({"ping": hex})
                    }
                    Received::Pong => serde_json::json!({"pong": true}),
                    Received::Close(code) => serde_json::json!({"closed": code}),
                });
                assert_eq!(case["received"], told.collect::<serde_json::Value>(), "{case}");
            }
            Err(close) => assert_eq!(case["close"], close.code().unwrap(), "{case}"),
        }
    }
}
