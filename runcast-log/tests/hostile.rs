//! Data directories that somebody wrote on purpose: any bytes in a write-ahead log, a segment or the
//! manifest, with checksums that are right. The log opens and reads them or says what is wrong; it
//! never breaks down.

#![allow(clippy::unwrap_used)]

mod support;

mod fuzz {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::time::Duration;

    use runcast_event::{Offset, RunId};
    use runcast_fuzz::fuzz;
    use runcast_log::{
        Append, EmbeddedLog, EmbeddedOptions, Log, OpenError, ReadError, Surroundings, SystemClock,
        Trim, WritingBy,
    };

    use crate::support::power::PowerDisk;
    use crate::support::{ALL, JoinAll, Recorder, batch, keep_up, run, stamped, without_room};

    const WORDS: &[&[u8]] = &[
        b"\0",
        b"\x01",
        b"\x7f",
        b"\x80",
        b"\xff",
        b"\xff\xff\xff\xff",
        b"\xff\xff\xff\x7f",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"GRUP",
        b"SEGINDEX",
    ];
    /// Headers and trailers have these bytes, the last four of them their checksum.
    const HEAD_BYTES: usize = 64;

    fn open(directory: &Path, disk: &PowerDisk) -> Result<Arc<EmbeddedLog>, OpenError> {
        let options = EmbeddedOptions {
            wal_bytes_max: 600,
            erase_within: Duration::from_secs(3_600),
            writing: WritingBy::Stepped,
            ..without_room()
        };
        let surroundings = Surroundings {
            disk: Arc::new(disk.clone()),
            boot_id: Some("boot".to_owned()),
            new_log_id: *b"the tests' logid",
            clock: Arc::new(SystemClock),
        };
        let recorder = Arc::new(Recorder::default());
        let log = EmbeddedLog::open_in(directory, options, surroundings, recorder)?;
        log.join_by(Arc::new(JoinAll));
        Ok(log)
    }

    /// A directory with everything in it.
    async fn whole(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let disk = PowerDisk::default();
        let log = open(directory, &disk).unwrap();
        for round in 0..4 {
            for name in ["a", "b", "life-c"] {
                let filler = "x".repeat(round * 40 + 20);
                let append = stamped(name, &["life", &filler, "end"], "p", 0, round as u64 * 3);
                let (appended, _) = tokio::join!(log.append(append), async { log.write() });
                appended.unwrap();
            }
            let append = Append { close: round == 1, ..batch("joined", &["one", "", "three"]) };
            if round < 2 {
                let (appended, _) = tokio::join!(log.append(append), async { log.write() });
                appended.unwrap();
            }
            if round == 2 {
                keep_up(&log);
                let name = run("b");
                let trim = Trim { base: "base".into(), ..Trim::before(Offset::new(3)) };
                let (trimmed, _) = tokio::join!(log.trim(&name, trim), async { log.write() });
                trimmed.unwrap();
            }
        }
        let (appended, _) =
            tokio::join!(log.append(batch("d", &["new", "er"])), async { log.write() });
        appended.unwrap();
        disk.contents()
    }

    fn put_checksum(bytes: &mut [u8], of: std::ops::Range<usize>, at: usize) {
        let checksum = crc32c::crc32c(&bytes[of]);
        bytes[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
    }

    fn number(bytes: &[u8], at: usize) -> usize {
        u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
    }

    /// Makes the checksums of records right that lie behind each other.
    fn check_records(bytes: &mut [u8], mut at: usize) {
        while at + 8 <= bytes.len() {
            let end = at.saturating_add(number(bytes, at + 4));
            if end < at + 8 || end > bytes.len() {
                return;
            }
            put_checksum(bytes, at + 4..end, at);
            at = end;
        }
    }

    fn checked_wal(mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.len() >= HEAD_BYTES {
            put_checksum(&mut bytes, 0..HEAD_BYTES - 4, HEAD_BYTES - 4);
        }
        for at in 0..bytes.len().saturating_sub(44) {
            if bytes[at..].starts_with(b"GRUP") {
                put_checksum(&mut bytes, at..at + 40, at + 40);
                check_records(&mut bytes, at + 44);
            }
        }
        bytes
    }

    fn checked_segment(mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.len() < 2 * HEAD_BYTES {
            return bytes;
        }
        put_checksum(&mut bytes, 0..HEAD_BYTES - 4, HEAD_BYTES - 4);
        check_records(&mut bytes, HEAD_BYTES);
        let trailer = bytes.len() - HEAD_BYTES;
        let index = number(&bytes, trailer + 8).saturating_add(number(&bytes, trailer + 12) * 4);
        if let Some(begin) = trailer.checked_sub(index) {
            put_checksum(&mut bytes, begin..trailer, trailer + 16);
        }
        put_checksum(&mut bytes, trailer..trailer + HEAD_BYTES - 4, trailer + HEAD_BYTES - 4);
        bytes
    }

    fn checked_manifest(mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.len() >= 20 {
            let (length, end) = (bytes.len() as u32, bytes.len() - 4);
            bytes[12..16].copy_from_slice(&length.to_le_bytes());
            put_checksum(&mut bytes, 0..end, end);
        }
        bytes
    }

    /// Opens what is there, and reads all that it says that there is.
    async fn read_all(directory: &Path, disk: &PowerDisk) {
        let Ok(log) = open(directory, disk) else { return };
        let listed = log.list(None, 1_000).await.unwrap();
        let names = listed.into_iter().map(|(run, _)| run).chain([RunId::feed()]);
        for run in names {
            let Ok(Some(stat)) = log.stat(&run).await else { continue };
            let after = Offset::new(stat.first.get() - 1);
            match log.read(&run, after, ALL).await {
                Ok(page) => {
                    let mut next = stat.first;
                    for record in page.records {
                        assert_eq!(record.first(), next, "in order");
                        next = record.offset.next();
                    }
                }
                Err(ReadError::Failed { reason }) => panic!("{run}: {reason}"),
                Err(_) => {}
            }
        }
        for _ in 0..4 {
            // What cannot be sealed or merged is told, too.
            let _told = log.keep_up();
        }
    }

    /// Tries any bytes in the newest file that is like this.
    fn try_file(is_it: impl Fn(&str, &[u8]) -> bool, checked: impl Fn(Vec<u8>) -> Vec<u8>) {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let files = runtime.block_on(whole(directory.path()));
        let mut found = files.iter().filter(|(path, bytes)| is_it(path.to_str().unwrap(), bytes));
        let (hostile, right) = found.next_back().unwrap().clone();
        fuzz(&[&right], WORDS, |input| {
            for bytes in [input.to_vec(), checked(input.to_vec())] {
                let others = files.iter().filter(|(path, _)| *path != hostile).cloned();
                let disk = PowerDisk::with_files(others.chain([(hostile.clone(), bytes)]));
                runtime.block_on(read_all(directory.path(), &disk));
            }
        });
    }

    #[test]
    fn a_newest_write_ahead_log_of_any_bytes_is_read_or_refused() {
        try_file(|name, _| name.contains("wal-"), checked_wal);
    }

    #[test]
    fn a_full_write_ahead_log_of_any_bytes_is_read_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let files = runtime.block_on(whole(directory.path()));
        let wals: Vec<_> = files.iter().filter(|(path, _)| is_wal(path)).collect();
        let full = wals[wals.len() - 2].0.to_str().unwrap().rsplit('/').next().unwrap().to_owned();
        try_file(|name, _| name.ends_with(&full), checked_wal);
    }

    fn is_wal(path: &Path) -> bool {
        path.to_str().is_some_and(|name| name.contains("wal-"))
    }

    #[test]
    fn a_segment_of_any_bytes_is_read_or_refused() {
        try_file(|name, _| name.contains("seg-"), checked_segment);
    }

    #[test]
    fn a_segment_of_any_bytes_with_events_that_are_stored_as_one_is_read_or_refused() {
        // Kind, flags, and the lengths of the names before the name.
        let joined = b"\x07\0\x06\0joined";
        let has_joined = |bytes: &[u8]| bytes.windows(joined.len()).any(|window| window == joined);
        try_file(|name, bytes| name.contains("seg-") && has_joined(bytes), checked_segment);
    }

    #[test]
    fn a_manifest_of_any_bytes_is_read_or_refused() {
        try_file(|name, _| name.ends_with("manifest"), checked_manifest);
    }
}
