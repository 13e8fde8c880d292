//! The commands as a person or a script uses them, with the real binary and a real server.

#![allow(clippy::unwrap_used, reason = "tests")]

mod demo;
mod process;
mod publish;
mod redis;
mod runs;
mod serve;
mod tail;
mod talk;
mod tools;
