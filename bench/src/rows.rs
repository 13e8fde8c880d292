//! The rows of the table: what is measured, and what it should be.

mod append;
mod coalesced;
mod fan_out;
mod filters;
mod flow;
mod idle;
mod latency;
mod lists;
mod log;
mod redis;
mod replay;
mod room;
mod stall;
mod start;
mod storm;

use anyhow::Result;

use crate::sample::Sample;
use crate::scale::Scale;
use crate::subject::Place;

/// A measurement and the lines of the table that it fills.
pub(crate) struct Row {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What is done.
    pub(crate) about: &'static str,
    /// Whether the floor is measured too.
    pub(crate) has_floor: bool,
    /// What is shown of it.
    pub(crate) lines: &'static [Line],
    /// Measures once.
    pub(crate) measure: fn(&Place, &Scale) -> Result<Sample>,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line {
    /// The figure's name in the sample.
    pub(crate) figure: &'static str,
    /// What it is.
    pub(crate) about: &'static str,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// What it should be.
    pub(crate) target: Target,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// At most so many times what the floor needs.
    TimesFloor(f64),
    /// At most so much.
    AtMost(f64),
    /// It is only shown.
    Shown,
}

impl Line {
    const fn new(
        figure: &'static str,
        unit: &'static str,
        about: &'static str,
        target: Target,
    ) -> Self {
        Self { figure, about, unit, target }
    }
}

/// All rows, in the order of the table.
pub(crate) const ROWS: &[Row] = &[
    fan_out::FAN_OUT,
    fan_out::FAN_OUT_WEBSOCKET,
    fan_out::MANY_RUNS,
    filters::FILTERS,
    append::SINGLE,
    append::PACED,
    append::BATCH,
    replay::STREAM,
    replay::PAGES,
    coalesced::COALESCED,
    idle::SHARED,
    idle::APART,
    idle::WEBSOCKET,
    latency::LATENCY,
    lists::LISTS,
    log::APPEND,
    log::COLD,
    log::COLD_OF_MANY,
    log::DELETE,
    stall::STALL,
    room::ROOM,
    storm::STORM,
    start::START,
    redis::FAN_OUT,
    redis::MANY_RUNS,
    redis::SINGLE,
    redis::BATCH,
    redis::LATENCY,
    redis::IDLE,
    redis::ROOM,
    redis::MOVING,
];
