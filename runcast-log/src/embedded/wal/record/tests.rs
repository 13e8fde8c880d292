use proptest::prelude::*;

use super::*;

fn sealed(mut record: Vec<u8>) -> Vec<u8> {
    if record.len() < FIXED_LENGTH {
        record.resize(FIXED_LENGTH, 0);
    }
    end(&mut record, 0);
    record
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn random_bytes_under_a_right_checksum_never_panic(
        kind in 0..9_u8,
        flags in 0..8_u8,
        mut bytes in prop::collection::vec(any::<u8>(), 12..120),
        name in 0..20_u8,
    ) {
        bytes[8..12].copy_from_slice(&[kind, flags, name, 0]);
        bytes[12..].iter_mut().for_each(|byte| *byte &= 0x8f);
        if let Ok((Record::Append(append), length)) = decode(&sealed(bytes)) {
            let last = append.events().last().unwrap().place.end;
            prop_assert_eq!(last, length);
        }
    }

    #[test]
    fn an_append_reads_back_as_it_was_written(
        first in 1..1_u64 << 50,
        epoch in 1..u32::MAX,
        close: bool,
        begins: bool,
        producer in prop::option::of(("[a-z]{1,128}", any::<u64>(), 0..u64::MAX - 1000)),
        run in "[A-Za-z0-9._~:-]{1,128}",
        lengths in prop::collection::vec(0..400_usize, 1..20),
    ) {
        let events: Vec<Bytes> =
            lengths.iter().enumerate().map(|(at, length)| vec![at as u8; *length].into()).collect();
        let producer = producer.as_ref().map(|(id, epoch, at)| (id.as_str(), *epoch, *at));
        let epoch = Epoch::new(epoch).unwrap();
        let first = Offset::new(first);
        let new = NewAppend { run: &run, epoch, begins, close, first, producer, events: &events };
        let mut bytes = b"before".to_vec();
        new.encode(&mut bytes);
        bytes.extend_from_slice(b"behind");
        let (record, length) = decode(&bytes[6..]).unwrap();
        prop_assert_eq!(length, bytes.len() - 12);
        let Record::Append(append) = record else { panic!("an append") };
        prop_assert_eq!((append.run, append.epoch, append.begins, append.close), (&*run, epoch, begins, close));
        prop_assert_eq!((append.first, append.producer), (first, producer));
        let read: Vec<Bytes> =
            append.events().map(|event| Bytes::copy_from_slice(&bytes[6..][event.place])).collect();
        prop_assert_eq!(read, events);
    }
}

#[test]
fn notes_read_back_as_they_were_written() {
    for note in [
        Note::Delete { run: "r" },
        Note::Trim { run: "r", before: Offset::new(300), base: b"" },
        Note::Trim { run: "r", before: Offset::new(300), base: b"what stands for them" },
        Note::NewEpoch { by: 1 },
        Note::NewEpoch { by: 30_000_000 },
        Note::Opened { boot_id: "b", relaxed: true },
        Note::Opened { boot_id: "", relaxed: false },
        Note::ClosedCleanly,
    ] {
        let mut bytes = Vec::new();
        note.encode(&mut bytes);
        assert_eq!(decode(&bytes), Ok((Record::Note(note), bytes.len())));
    }
}

#[test]
fn any_flipped_bit_of_a_record_is_noticed() {
    let events = [Bytes::from_static(b"one"), Bytes::from_static(b"two")];
    let new = NewAppend {
        run: "r",
        epoch: Epoch::FIRST,
        begins: true,
        close: false,
        first: Offset::new(1),
        producer: Some(("p", 0, 0)),
        events: &events,
    };
    let mut bytes = Vec::new();
    new.encode(&mut bytes);
    for bit in 0..bytes.len() * 8 {
        let mut other = bytes.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&other).is_err(), "bit {bit}");
    }
}
