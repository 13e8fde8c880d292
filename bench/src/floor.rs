//! The floor: the least that a server of live streams can do, to measure the real one against.
//!
//! One thread and one epoll. It accepts followers, and on a `POST` writes the same bytes as the
//! server would to the same sockets. With a disk it first writes what it was posted, all that
//! waits together, and waits for `fdatasync`. It understands just the requests of this crate's
//! generator, trusts them, has no limits, no producers, no states, no types, no errors: it is a
//! yardstick, never a server.

mod connection;
mod disk;
mod request;
mod run;
mod serve;

pub(crate) use disk::Disk;
pub(crate) use serve::{FloorSettings, serve};
