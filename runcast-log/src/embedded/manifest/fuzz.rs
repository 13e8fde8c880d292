//! Hostile manifests, with checksums that are right.

use runcast_fuzz::fuzz;

use super::*;

fn manifest() -> Manifest {
    let session = LastSession { boot_id: "boot".to_owned(), relaxed: true, clean: false };
    let listed = |number| ListedSegment { number, level: number % 2, length: 1_000, erased: 7 };
    Manifest {
        wal_first: 7,
        next_group: 300,
        next_segment: 4,
        first_epoch: Epoch::FIRST.next(),
        epochs_begun: 3,
        streams: 10,
        events: 1_000,
        session,
        segments: vec![listed(1), listed(3)],
        ..Manifest::empty(*b"0123456789abcdef")
    }
}

/// The input with a right length and checksum.
fn checked(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    if bytes.len() >= FIXED_LENGTH {
        let length = (bytes.len() + CHECKSUM_LENGTH) as u32;
        bytes[12..16].copy_from_slice(&length.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
    }
    bytes
}

#[test]
fn a_manifest_reads_back_and_any_other_byte_is_noticed() {
    for manifest in [manifest(), Manifest::empty([1; 16])] {
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes), Ok(manifest));
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(Manifest::decode(&other).is_err(), "byte {at}");
            assert!(Manifest::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn a_manifest_is_taken_whole_or_not_at_all() {
    let bytes = manifest().encode();
    let content = &bytes[..bytes.len() - CHECKSUM_LENGTH];
    let words: &[&[u8]] = &[b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01", b"\x80", b"\xff"];
    fuzz(&[&bytes, content], words, |input| {
        let _ = Manifest::decode(input);
        if let Ok(manifest) = Manifest::decode(&checked(input)) {
            assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
        }
    });
}
