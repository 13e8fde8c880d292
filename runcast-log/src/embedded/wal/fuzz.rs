//! Hostile records and groups. Their checksums are made right first, or else nothing would get
//! past them: what is tried is a file that somebody wrote on purpose.

use bytes::Bytes;
use runcast_event::{Epoch, Offset};
use runcast_fuzz::fuzz;

use super::group::{GroupBuffer, GroupHeader, HEADER_LENGTH};
use super::record::{self, NewAppend, NewBlock, Note, Record};
use crate::embedded::joined::StoredEvent;

const TAG: u64 = 0x0102_0304_0506_0708;

fn corpus() -> Vec<Vec<u8>> {
    let events = [Bytes::from_static(b"{\"type\":\"a.b\"}"), Bytes::from_static(b"{}")];
    let producers = [None, Some(("p", 3, 300))];
    let mut corpus: Vec<Vec<u8>> = producers
        .into_iter()
        .map(|producer| {
            let append = NewAppend {
                run: "run_1",
                epoch: Epoch::FIRST,
                begins: true,
                close: producer.is_some(),
                first: Offset::new(1_000),
                producer,
                events: &events,
            };
            let mut bytes = Vec::new();
            append.encode(&mut bytes);
            bytes
        })
        .collect();
    let joined = StoredEvent {
        last: Offset::new(1_003),
        bytes: Bytes::from_static(b"{\"a\":\"onetwo\"}"),
        start: 6,
        lengths: vec![3, 0, 3],
    };
    let single = StoredEvent::single(Offset::new(1_004), Bytes::from_static(b"{}"));
    let mut bytes = Vec::new();
    NewBlock { run: "run_1", born: Epoch::FIRST, events: &[joined, single] }.encode(&mut bytes);
    corpus.push(bytes);
    let opened = Note::Opened { boot_id: "boot", relaxed: true };
    let trim = Note::Trim { run: "r", before: Offset::new(300), base: b"base" };
    for note in
        [Note::Delete { run: "r" }, trim, Note::NewEpoch { by: 1 }, opened, Note::ClosedCleanly]
    {
        let mut bytes = Vec::new();
        note.encode(&mut bytes);
        corpus.push(bytes);
    }
    corpus
}

const WORDS: &[&[u8]] = &[
    b"\0",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02",
    b"\xff\xff\xff\xff",
    b"GRUP",
];

/// The input as a record with a right length and checksum.
fn sealed(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    if bytes.len() >= 8 {
        let length = u32::try_from(bytes.len()).unwrap();
        bytes[4..8].copy_from_slice(&length.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    }
    bytes
}

#[test]
fn a_record_that_is_taken_has_its_events_inside_itself() {
    let corpus = corpus();
    let corpus: Vec<&[u8]> = corpus.iter().map(Vec::as_slice).collect();
    fuzz(&corpus, WORDS, |input| {
        for bytes in [input.to_vec(), sealed(input)] {
            let Ok((record, length)) = record::decode(&bytes) else { continue };
            assert!(length <= bytes.len());
            let Record::Append(append) = record else { continue };
            let mut end = None;
            let mut count = 0;
            for event in append.events() {
                count += event.count();
                assert_eq!(event.last.get(), append.first.get() + count - 1);
                let place = event.place.clone();
                assert!(end.is_none_or(|end| end == place.start) && place.end <= length);
                end = Some(place.end);
                let Some(parts) = event.parts else { continue };
                let all = &bytes[place.clone()];
                assert_eq!(parts.cut(all, 0, parts.count), all);
                let (front, back) = (parts.cut(all, 0, 1), parts.cut(all, 1, parts.count));
                let around = parts.cut(all, parts.count, 0).len();
                assert_eq!(front.len() + back.len(), all.len() + around);
                let stored = event.read(&Bytes::copy_from_slice(&bytes));
                assert_eq!((stored.count(), stored.bytes.len()), (parts.count, place.len()));
                assert_eq!(stored.clone().from(stored.last).count(), 1);
            }
            assert_eq!((count, end), (append.count, Some(length)));
        }
    });
}

#[test]
fn a_groups_header_is_taken_whole_or_not_at_all() {
    let mut group = GroupBuffer::default();
    group.clear();
    group.push_note(&Note::NewEpoch { by: 9 });
    let group = group.finish(7, 6, true, TAG).to_vec();
    fuzz(&[&group, &group[..HEADER_LENGTH]], WORDS, |input| {
        if let Some(header) = GroupHeader::decode(input, TAG) {
            assert!(header.group_length() >= HEADER_LENGTH);
            assert_eq!(input[..40], group[..40], "a changed header was taken");
        }
    });
}
