//! Whether appends wait for upkeep: the same appends to two logs, of which one seals and merges.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use runcast_log::{EmbeddedLog, EmbeddedOptions, Log as _, UpkeepBy};
use tokio::time::Instant;

use super::log::{EVENTS_A_BATCH, batch, in_directory};
use super::{Line, Row, Target};
use crate::sample::{Percentiles, Sample, number};
use crate::scale::Scale;
use crate::subject::Place;
use crate::viewers::nanosecond_histogram;

pub(super) const STALL: Row = Row {
    name: "log-stall",
    about: "single appends beside 15 MB/s of batches, with and without upkeep of 16 MiB files",
    has_floor: false,
    lines: &[
        Line::new("alone", "ms", "p99.9 without upkeep: the disk's own", Target::Shown),
        Line::new("p999", "ms", "p99.9 with upkeep", Target::Shown),
        Line::new("beyond", "ms", "more than the disk's own", Target::AtMost(10.0)),
        Line::new("files", "", "files that were sealed meanwhile", Target::Shown),
    ],
    measure: stall,
};

const STREAMS: usize = 1_000;
/// A batch so often is 15 MB a second.
const BATCH_EVERY: Duration = Duration::from_millis(5);
const PROBE_EVERY: Duration = Duration::from_millis(1);
const FILE_BYTES: u64 = 16 * 1024 * 1024;
/// How often the two logs take turns, so that a disk that is slow for a while is slow for both.
const TURNS: u32 = 4;

fn stall(place: &Place, scale: &Scale) -> Result<Sample> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    in_directory(place, |directory| {
        let open = |name: &str, upkeep| {
            // What waits for upkeep does not hold up appends: that is not what is measured.
            let options = EmbeddedOptions {
                upkeep,
                wal_bytes_max: FILE_BYTES,
                wals_waiting_max: usize::MAX,
                ..EmbeddedOptions::default()
            };
            EmbeddedLog::open(&directory.join(name), options, Arc::new(()))
        };
        let alone = open("alone", UpkeepBy::Stepped)?;
        let kept = open("kept", UpkeepBy::Background)?;
        let (mut alone_ns, mut kept_ns) = (nanosecond_histogram(), nanosecond_histogram());
        let turn = scale.flow * 2 / TURNS;
        for _ in 0..TURNS {
            runtime.block_on(probe(&alone, turn, &mut alone_ns))?;
            runtime.block_on(probe(&kept, turn, &mut kept_ns))?;
        }
        let files = kept.measure().written.seal / FILE_BYTES;
        ensure!(files > 0 || turn < Duration::from_secs(5), "nothing was sealed meanwhile");
        runtime.block_on(async { tokio::join!(alone.shut_down(), kept.shut_down()) });
        let p999 = |ns: &Histogram<u64>| Some(Percentiles::of(ns)?.p999);
        let (without, with) =
            p999(&alone_ns).zip(p999(&kept_ns)).context("nothing was appended")?;
        Ok(Sample::default()
            .with("alone", without)
            .with("p999", with)
            .with("beyond", (with - without).max(0.0))
            .with("files", number(files)))
    })
}

/// Appends batches at their pace for a while, and between them single events whose time is taken.
async fn probe(log: &Arc<EmbeddedLog>, time: Duration, ns: &mut Histogram<u64>) -> Result<()> {
    let filling = Arc::clone(log);
    let filler = tokio::spawn(async move {
        let mut next = Instant::now();
        let end = next + time;
        for stream in (0..STREAMS).cycle() {
            if next >= end {
                break;
            }
            filling.append(batch(&format!("run-{stream}"), EVENTS_A_BATCH)).await?;
            next += BATCH_EVERY;
            tokio::time::sleep_until(next).await;
        }
        anyhow::Ok(())
    });
    while !filler.is_finished() {
        let begin = Instant::now();
        log.append(batch("probe", 1)).await?;
        ns.saturating_record(begin.elapsed().as_nanos().try_into().unwrap_or(u64::MAX));
        tokio::time::sleep(PROBE_EVERY).await;
    }
    filler.await??;
    Ok(())
}
