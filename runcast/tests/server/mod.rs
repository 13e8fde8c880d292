//! The real server as a child process, on a port and a data directory that stay the same when it is
//! killed and started again.

#![allow(dead_code, unreachable_pub, reason = "shared by test programs that each use a part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Where a server runs, whether or not it runs now.
pub struct Server {
    address: SocketAddr,
    /// Where it keeps its events: an option and its value.
    store: [OsString; 2],
    /// What `--set` is given, besides the defaults.
    settings: Vec<&'static str>,
    child: Option<Child>,
}

impl Server {
    /// A server on a free port that keeps its data under `directory`; not started.
    pub fn new(directory: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        let store = ["--data".into(), directory.join("data").into()];
        Self { address, store, settings: Vec::new(), child: None }
    }

    /// A server that runs with settings and keeps its events in Redis.
    pub fn started_on_redis(url: &str, settings: &[&'static str]) -> Self {
        let mut server = Self::new(Path::new(""));
        server.store = ["--redis".into(), url.into()];
        server.settings = settings.to_vec();
        server.start();
        server
    }

    /// A server that runs.
    pub fn started(directory: &Path) -> Self {
        Self::started_with(directory, &[])
    }

    /// A server that runs with settings such as `wal_bytes_max=4096`.
    pub fn started_with(directory: &Path, settings: &[&'static str]) -> Self {
        let mut server = Self::new(directory);
        server.settings = settings.to_vec();
        server.start();
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts it and waits until it serves.
    pub fn start(&mut self) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_runcast"))
            .args(["serve", "--listen", &self.address.to_string()])
            .args(&self.store)
            .args(self.settings.iter().flat_map(|setting| ["--set", *setting]))
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut first_line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut first_line).unwrap();
        assert!(first_line.contains(&self.url()), "the server said {first_line:?}");
        TcpStream::connect(self.address).unwrap();
        self.child = Some(child);
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The body of the answer to a GET.
    pub fn get(&self, target: &str) -> String {
        let (status, answer) = self.ask(target);
        assert_eq!(status, 200, "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// The status of the answer to a GET.
    pub fn status(&self, target: &str) -> u16 {
        self.ask(target).0
    }

    fn ask(&self, target: &str) -> (u16, String) {
        let mut connection = TcpStream::connect(self.address).unwrap();
        let head =
            format!("GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        connection.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
