//! For those who write an engine: what becomes of an append is decided here for all of them.
//!
//! An engine holds a [`Stream`] of each run, has [`decide`] say what an append does to it, makes that
//! durable in its own way and then takes it over with [`Stream::advance`]. So idempotent producers,
//! expected offsets, fencing, closing, tombstones and epochs mean the same everywhere.

pub use crate::stream::{Advance, Mark, Phase, Placement, Plan, Producers, Rules, Stream, decide};
