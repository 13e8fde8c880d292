//! What a process uses: its CPU time to the nanosecond, its memory, and what others used meanwhile.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::ClockId;
use nix::unistd::Pid;
use serde::Serialize;

/// The CPU time of a process, all its threads, those that have ended too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuClock(ClockId);

impl CpuClock {
    /// Of a process of this machine.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let pid = Pid::from_raw(i32::try_from(pid)?);
        Ok(Self(ClockId::pid_cpu_clock_id(pid).context("a process has no CPU clock")?))
    }

    /// User and system time until now.
    pub(crate) fn read(self) -> Result<Duration> {
        Ok(self.0.now().context("the CPU clock of a process cannot be read")?.into())
    }
}

/// The memory of a process, in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    /// Resident.
    pub(crate) rss_kib: u64,
    /// Resident, what is shared counted in part.
    pub(crate) pss_kib: u64,
    /// Not backed by a file: heap and stacks.
    pub(crate) anonymous_kib: u64,
}

impl Memory {
    /// Of a process of this machine.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
            .context("the memory of a process cannot be read")?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        Self { rss_kib: field("Rss:"), pss_kib: field("Pss:"), anonymous_kib: field("Anonymous:") }
    }
}

/// The CPU time that the whole machine has spent, idle time left out.
pub(crate) fn machine_busy() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/stat").context("/proc/stat cannot be read")?;
    Ok(busy_of(&text))
}

/// `/proc/stat` counts in hundredths of a second.
const TICK: Duration = Duration::from_millis(10);

fn busy_of(stat: &str) -> Duration {
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<u32> = fields.filter_map(|field| field.parse().ok()).collect();
    // user, nice, system, (idle, iowait,) irq, softirq, steal; guest time is in user already.
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|&at| ticks.get(at)).sum::<u32>();
    TICK * busy
}

/// The bytes that a directory takes on its disk, with all that is in it.
pub(crate) fn disk_bytes(directory: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    const BLOCK_BYTES: u64 = 512;
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // A file may go while it is counted: a log that is recycled.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes += if metadata.is_dir() {
            disk_bytes(&entry.path())?
        } else {
            metadata.blocks() * BLOCK_BYTES
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_to_the_nanosecond() {
        let clock = CpuClock::of(std::process::id()).unwrap();
        let before = clock.read().unwrap();
        let sum = (0..100_000_u64).fold(0, |sum: u64, value| std::hint::black_box(sum ^ value));
        assert!(sum < u64::MAX);
        let spent = clock.read().unwrap() - before;
        assert!(spent > Duration::ZERO);
    }

    #[test]
    fn memory_is_read_by_its_names() {
        let text = "5594-7ffe ---p 00000000 00:00 0 [rollup]\nRss:      1696 kB\nPss:       256 kB\nPss_Anon: 116 kB\nAnonymous:   120 kB\n";
        let expected = Memory { rss_kib: 1_696, pss_kib: 256, anonymous_kib: 120 };
        assert_eq!(Memory::parse(text), expected);
    }

    #[test]
    fn idle_time_and_guests_are_not_busy() {
        let stat = "cpu  100 10 20 5000 600 3 4 5 70 80\ncpu0 1 1 1\n";
        assert_eq!(busy_of(stat), TICK * 142);
    }

    #[test]
    fn a_directory_takes_whole_blocks() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("inner")).unwrap();
        std::fs::write(directory.path().join("inner/file"), [1; 5_000]).unwrap();
        assert!(disk_bytes(directory.path()).unwrap() >= 5_000);
    }
}
