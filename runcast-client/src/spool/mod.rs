//! Events on disk until the server has them.
//!
//! A spool belongs to one producer of one run: a directory with a `header.json` (whose events, for
//! which server, under which producer epoch), a `lock`, and segment files of one event a line, each
//! behind its checksum. Events are numbered 0, 1, 2 … and leave in that order; a segment is deleted
//! once all of it is acknowledged.
//!
//! Appending never fails and never waits for a server: what the disk does not take (full, broken,
//! the bound is reached) waits in a small memory, and what that cannot hold is counted and becomes
//! one `producer.gap` event in its place. Nothing is synced: a spool outlives its process, and what
//! a power failure tears off is noticed by the checksums.
//!
//! Knows nothing of HTTP; [`crate::publish`] sends.

mod disk;
mod header;
mod leftover;
mod mailbox;
mod place;
mod reader;
mod segment;
mod store;

pub(crate) use header::Header;
pub use leftover::{Leftover, Leftovers, leftovers};
pub use mailbox::MailboxPlace;
pub use place::default_root;
pub(crate) use reader::{Batch, Reader};
pub(crate) use store::{Spool, SpoolLimits};

#[cfg(test)]
mod tests;
