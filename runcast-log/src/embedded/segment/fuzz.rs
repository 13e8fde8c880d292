//! Hostile indices. Their checksums are made right first: what is tried is a file that somebody
//! wrote on purpose.

use bytes::Bytes;
use runcast_event::{Epoch, Offset, ProducerId, RunId};
use runcast_fuzz::fuzz;

use super::entry::StoredEntry;
use super::entry::{NewBlocks, encode};
use super::header::Trailer;
use super::index::{NameHash, SegmentIndex};
use crate::contract::{Append, ProducerStamp};
use crate::embedded::base::BasePlace;
use crate::stream::{Placement, Stream};

/// Streams as an index knows them, with their names.
fn streams() -> Vec<(&'static str, Stream)> {
    let append = Append {
        run: RunId::new("a").unwrap(),
        events: vec![Bytes::from_static(b"x"); 10],
        close: true,
        expected_last: None,
        producer: Some(ProducerStamp { id: ProducerId::new("p").unwrap(), epoch: 3, sequence: 4 }),
        create: true,
    };
    let placement =
        Placement { begins: true, epoch: Epoch::FIRST, first: Offset::new(1), duplicates: 0 };
    let mut closed = Stream::new(Epoch::FIRST);
    closed.advance(&placement.advance(&append));
    let mut open = Stream::new(Epoch::FIRST.next());
    open.begin_epoch(1);
    let mut deleted = Stream::new(Epoch::FIRST);
    deleted.delete();
    let mut trimmed = closed.clone();
    trimmed.trim(Offset::new(11), true);
    vec![
        ("$feed", open),
        ("run_1", closed),
        ("run_2", deleted),
        ("trimmed_1", trimmed.clone()),
        ("trimmed_2", trimmed),
    ]
}

fn entries() -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut places) = (Vec::new(), Vec::new());
    for (name, stream) in streams() {
        let mut blocks = NewBlocks::default();
        if stream.kept() > 0 {
            blocks.push(64, Offset::new(1), 4, 100);
            blocks.push(164, Offset::new(5), 6, 200);
        }
        // What stands for the events of the other is in another segment.
        blocks.base = (name == "trimmed_1").then(|| BasePlace::new((364, 50)));
        places.push(bytes.len());
        encode(name, &stream, &blocks, &mut bytes);
    }
    (bytes, places)
}

const WORDS: &[&[u8]] = &[
    b"\0",
    b"\x01",
    b"\x1f",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff",
];

/// The input as the entries of an index with right checksums.
fn checked(entries: &[u8], places: &[usize]) -> Result<SegmentIndex, &'static str> {
    let mut bytes = entries.to_vec();
    places.iter().for_each(|place| bytes.extend_from_slice(&(*place as u32).to_le_bytes()));
    let trailer = Trailer {
        entries_bytes: entries.len() as u32,
        entries: places.len() as u32,
        checksum: crc32c::crc32c(&bytes),
        epochs_begun: 0,
        events: 10,
    };
    SegmentIndex::check(bytes, &trailer, 1_000)
}

#[test]
fn entries_read_back_as_they_were_written() {
    let (bytes, places) = entries();
    let index = checked(&bytes, &places).unwrap();
    for (at, (name, stream)) in streams().into_iter().enumerate() {
        assert_eq!(index.find(name, NameHash::of(name)), Some(at));
        assert_eq!(index.first_from(name), at);
        let (read, blocks) = SegmentIndex::read(index.entry(at));
        assert_eq!(read, stream);
        let base = index.entry(at).base.map(|base| (base.position, base.end()));
        assert_eq!(base, (name == "trimmed_1").then_some((364, 414)));
        let blocks: Vec<_> = blocks.map(|b| (b.first, b.position, b.count, b.length)).collect();
        assert_eq!(blocks, if at == 1 { vec![(1, 64, 4, 100), (5, 164, 6, 200)] } else { vec![] });
    }
    for missing in ["", "a", "run_10", "run_3"] {
        assert_eq!(index.find(missing, NameHash::of(missing)), None);
    }
    assert_eq!(
        (index.first_from(""), index.first_from("run_10"), index.first_from("z")),
        (0, 2, 5)
    );
}

#[test]
fn an_index_that_is_taken_can_be_read_all_over() {
    let (bytes, places) = entries();
    fuzz(&[&bytes], WORDS, |input| {
        for at in 0..input.len() {
            let Some(entry) = StoredEntry::decode(input, at) else { continue };
            if let Some((_, blocks, end)) = entry.read() {
                assert!(end <= input.len());
                assert!(blocks.count() <= input.len());
            }
        }
        for places in [&places[..], &[0]] {
            let Ok(index) = checked(input, places) else { continue };
            for at in 0..index.len() {
                let entry = index.entry(at);
                let (stream, blocks) = SegmentIndex::read(entry);
                if let Some(base) = entry.base {
                    assert!(base.position >= 64 && base.end() <= 1_000 && stream.has_base);
                }
                for block in blocks {
                    assert!(
                        block.position >= 64 && block.position + u64::from(block.length) <= 1_000
                    );
                }
                assert_eq!(index.find(entry.name, NameHash::of(entry.name)), Some(at));
            }
        }
    });
}
