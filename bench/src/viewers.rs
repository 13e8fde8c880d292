//! The viewers: thousands of connections that follow runs, read by one thread.

mod fleet;
mod ledger;

pub(crate) use fleet::{Fleet, nanosecond_histogram};
pub(crate) use ledger::{Faults, Ledger};
