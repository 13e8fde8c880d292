//! What is measured: a server or a floor, as a child process with a directory of its own.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::TempDir;

use crate::usage::{CpuClock, Memory, disk_bytes};
use crate::wire::call::Caller;

/// How long a child may take until it answers.
const READY_MAX: Duration = Duration::from_secs(60);

/// How often it is asked until then.
const READY_EVERY: Duration = Duration::from_micros(500);

/// How long a child may take to end by itself.
const STOP_MAX: Duration = Duration::from_secs(30);

/// How much of a child's output is shown when it fails, in bytes.
const OUTPUT_BYTES_MAX: usize = 4_000;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The least that can be done.
    Floor,
    /// Runcast.
    Server,
}

/// Whether the floor writes what it is posted. The server always does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FloorDisk {
    /// It does, with one `fdatasync` for all that waits.
    Durable,
    /// It does not.
    None,
}

/// Where the programs are and where their data goes.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The server's program.
    pub(crate) server: PathBuf,
    /// This program, which is also the floor.
    pub(crate) floor: PathBuf,
    /// The directory in which each child gets one of its own.
    pub(crate) data: PathBuf,
    /// Which child to start.
    pub(crate) kind: Kind,
    /// Settings of the server, as `--set` takes them.
    pub(crate) set: Vec<String>,
    /// The server's configuration file, if it has one: the text of it.
    pub(crate) config: Option<&'static str>,
    /// The Redis that the server keeps its events in, if not in its directory.
    pub(crate) redis: Option<String>,
    /// Whether the floor's followers come over WebSocket. The server's may come over both.
    pub(crate) floor_websocket: bool,
}

/// A process that is killed when it is let go.
#[derive(Debug)]
struct Running(Child);

/// A child that runs.
#[derive(Debug)]
pub(crate) struct Subject {
    // Declared first, so that it has ended when its directory is removed.
    child: Running,
    address: SocketAddrV4,
    directory: TempDir,
    cpu: CpuClock,
}

impl Place {
    /// The same for followers over WebSocket.
    pub(crate) fn over_websocket(&self) -> Self {
        Self { floor_websocket: true, ..self.clone() }
    }

    /// The same for a server whose events are in this Redis.
    pub(crate) fn on(&self, redis: &Redis) -> Self {
        Self { redis: Some(redis.url()), ..self.clone() }
    }

    /// Starts a child with an empty directory.
    pub(crate) fn start(&self, disk: FloorDisk) -> Result<Subject> {
        std::fs::create_dir_all(&self.data)?;
        let directory = tempfile::Builder::new().prefix("runcast-bench-").tempdir_in(&self.data)?;
        self.start_in(directory, disk)
    }

    fn start_in(&self, directory: TempDir, disk: FloorDisk) -> Result<Subject> {
        let address = free_address()?;
        let mut command = match self.kind {
            Kind::Server => Command::new(&self.server),
            Kind::Floor => Command::new(&self.floor),
        };
        match self.kind {
            Kind::Server => {
                command.args(["serve", "--listen", &address.to_string()]);
                match &self.redis {
                    Some(url) => command.args(["--redis", url]),
                    None => command.arg("--data").arg(directory.path().join("data")),
                };
                for set in &self.set {
                    command.args(["--set", set]);
                }
                if let Some(text) = self.config {
                    let config = directory.path().join("runcast.toml");
                    std::fs::write(&config, text)?;
                    command.arg("--config").arg(config);
                }
            }
            Kind::Floor => {
                command.args(["floor", "--listen", &address.to_string()]);
                if self.floor_websocket {
                    command.arg("--websocket");
                }
                if disk == FloorDisk::Durable {
                    command.arg("--disk").arg(directory.path().join("data"));
                }
            }
        }
        // The settings are those of a server that was just installed.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"RUNCAST_") {
                command.env_remove(name);
            }
        }
        let output = File::create(directory.path().join("output"))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("{} cannot be started", command.get_program().display()))?;
        let cpu = CpuClock::of(child.id())?;
        let child = Running(child);
        let mut subject = Subject { child, address, directory, cpu };
        subject.await_answer()?;
        Ok(subject)
    }

    /// Starts a child in the directory of one that was stopped, and answers how long it took until
    /// it answered.
    pub(crate) fn restart(&self, stopped: Stopped, disk: FloorDisk) -> Result<(Subject, Duration)> {
        let begin = Instant::now();
        let subject = self.start_in(stopped.directory, disk)?;
        Ok((subject, begin.elapsed()))
    }
}

/// A Redis that runs, with an empty directory.
#[derive(Debug)]
pub(crate) struct Redis {
    // Declared first, so that it has ended when its directory is removed.
    _child: Running,
    address: SocketAddrV4,
    cpu: CpuClock,
    _directory: TempDir,
}

impl Redis {
    /// Starts one that writes everything to its disk and syncs that every second.
    pub(crate) fn start(place: &Place) -> Result<Self> {
        std::fs::create_dir_all(&place.data)?;
        let directory =
            tempfile::Builder::new().prefix("runcast-redis-").tempdir_in(&place.data)?;
        let address = free_address()?;
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "everysec", "--dir"])
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("redis-server cannot be started; scripts/install-redis installs it")?;
        let cpu = CpuClock::of(child.id())?;
        let redis = Self { _child: Running(child), address, cpu, _directory: directory };
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(begin.elapsed() < READY_MAX, "redis-server does not listen");
            std::thread::sleep(READY_EVERY);
        }
        Ok(redis)
    }

    fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Has it do something, and waits until it has.
    pub(crate) fn command(&self, command: &str) -> Result<()> {
        let mut connection = TcpStream::connect(self.address)?;
        connection.write_all(format!("{command}\r\n").as_bytes())?;
        let mut answer = [0; 64];
        let length = connection.read(&mut answer)?;
        ensure!(
            matches!(answer[..length].first(), Some(b'+' | b':')),
            "{command} was answered {}",
            String::from_utf8_lossy(&answer[..length])
        );
        Ok(())
    }

    /// The CPU time it has spent since it started.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.cpu.read()
    }

    /// The memory that it has given out, in bytes: less than it holds.
    pub(crate) fn used_memory(&self) -> Result<u64> {
        let mut connection = TcpStream::connect(self.address)?;
        connection.write_all(b"INFO memory\r\nQUIT\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        let used = answer.lines().find_map(|line| line.strip_prefix("used_memory:"));
        Ok(used.context("Redis does not say what it uses")?.trim().parse()?)
    }
}

/// The directory of a child that has ended.
#[derive(Debug)]
pub(crate) struct Stopped {
    directory: TempDir,
}

impl Stopped {
    /// What its data takes on the disk, in bytes.
    pub(crate) fn data_bytes(&self) -> Result<u64> {
        disk_bytes(&self.directory.path().join("data"))
    }
}

impl Subject {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// The CPU time it has spent since it started.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.cpu.read()
    }

    /// The memory it holds.
    pub(crate) fn memory(&self) -> Result<Memory> {
        Memory::of(self.child.0.id())
    }

    /// What its data takes on the disk, in bytes.
    pub(crate) fn data_bytes(&self) -> Result<u64> {
        disk_bytes(&self.directory.path().join("data"))
    }

    /// The directory that is its own; its data and its output are in it.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn stop(mut self) -> Result<Stopped> {
        let pid = Pid::from_child(&self.child.0);
        kill_process(pid, Signal::TERM)?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let mut ended = [PollFd::new(&process, PollFlags::IN)];
        let time = Timespec { tv_sec: i64::try_from(STOP_MAX.as_secs())?, tv_nsec: 0 };
        if poll(&mut ended, Some(&time))? == 0 {
            bail!("{pid:?} did not end within {STOP_MAX:?} of SIGTERM");
        }
        self.child.0.wait()?;
        Ok(Stopped { directory: self.directory })
    }

    /// Ends it without a word.
    pub(crate) fn kill(mut self) -> Result<Stopped> {
        self.child.0.kill()?;
        self.child.0.wait()?;
        Ok(Stopped { directory: self.directory })
    }

    /// Waits until it answers. There is nothing to wait on but its answer, so it is asked again
    /// and again.
    fn await_answer(&mut self) -> Result<()> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.0.try_wait()? {
                bail!("the child ended with {status}: {}", self.output());
            }
            let answer =
                Caller::connect(self.address).and_then(|mut caller| caller.get("/v1/runs?limit=1"));
            match answer {
                Ok(answer) if answer.status == 200 => return Ok(()),
                _ if begin.elapsed() < READY_MAX => std::thread::sleep(READY_EVERY),
                Ok(answer) => {
                    bail!("GET /v1/runs is answered {}: {}", answer.status, self.output())
                }
                Err(error) => return Err(error.context(self.output())),
            }
        }
    }

    fn output(&self) -> String {
        let bytes = std::fs::read(self.directory.path().join("output")).unwrap_or_default();
        let tail = &bytes[bytes.len().saturating_sub(OUTPUT_BYTES_MAX)..];
        String::from_utf8_lossy(tail).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> Result<SocketAddrV4> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr()?.port()))
}
