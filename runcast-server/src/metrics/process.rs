//! What the process takes of its machine, as the system says.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

/// CPU time of all threads so far, in seconds.
pub(super) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Memory in use, where the system says it.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Open files, sockets among them, where the system says it.
pub(super) fn open_files() -> Option<u64> {
    // Newer kernels say the number as the directory's size; counting 100,000 names takes long.
    let said = fs::metadata("/proc/self/fd").ok()?.len();
    if said > 0 {
        return Some(said);
    }
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_something() {
        assert!(cpu_seconds() > 0.0);
        if cfg!(target_os = "linux") {
            assert!(resident_bytes().unwrap() > 100_000);
            let before = open_files().unwrap();
            let _files: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
            assert!(open_files().unwrap() >= before + 50);
        }
    }
}
