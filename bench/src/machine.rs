//! The machine that is measured on, as far as figures depend on it.

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

/// The magic number of a file system that is kept in memory.
const TMPFS: u64 = 0x0102_1994;

/// A machine.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    /// The processor.
    pub(crate) processor: String,
    /// How many cores there are.
    pub(crate) cores: usize,
    /// The kernel.
    pub(crate) kernel: String,
    /// Runnable processes over the last minute, before anything was measured.
    pub(crate) load: f64,
    /// Whether the data lies in memory instead of on a disk.
    pub(crate) data_in_memory: bool,
}

impl Machine {
    /// Looks at this one.
    pub(crate) fn look(data: &Path) -> Result<Self> {
        std::fs::create_dir_all(data)?;
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| {
                Some(line.strip_prefix("model name")?.split_once(':')?.1.trim().into())
            })
            .unwrap_or_else(|| String::from("unknown"));
        let load = read("/proc/loadavg");
        let load = load.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        let kind = rustix::fs::statfs(data)?.f_type;
        Ok(Self {
            processor,
            cores: std::thread::available_parallelism()?.get(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load,
            data_in_memory: u64::try_from(kind).is_ok_and(|kind| kind == TMPFS),
        })
    }

    /// What makes figures of this machine doubtful.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.data_in_memory {
            warnings.push("the data lies in memory: durable rows cost less than on a disk; --data names another directory".into());
        }
        if cfg!(debug_assertions) {
            warnings.push("this is a debug build: the floor is too slow to compare with".into());
        }
        if self.load > 1.0 {
            warnings.push(format!("the machine is busy: {} runnable processes", self.load));
        }
        warnings
    }
}
