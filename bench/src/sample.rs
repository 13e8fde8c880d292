//! What one measurement of one row gave.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::subject::Subject;
use crate::usage::{CpuClock, Memory, machine_busy};
use crate::viewers::Faults;

/// One measurement.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Sample {
    /// The figures by name, each in its row's unit.
    pub(crate) figures: BTreeMap<&'static str, f64>,
    /// How long deliveries or answers took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency_ms: Option<Percentiles>,
    /// What went wrong.
    pub(crate) faults: Faults,
    /// What went wrong first, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    /// What the time was spent on.
    pub(crate) spent: Spent,
}

impl Sample {
    /// The same with one more figure.
    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: f64) -> Self {
        self.figures.insert(name, value);
        self
    }
}

/// Percentiles, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Percentiles {
    /// Of a histogram of nanoseconds; none of an empty one.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at =
            |percent| milliseconds(Duration::from_nanos(histogram.value_at_percentile(percent)));
        Some(Self {
            count: histogram.len(),
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p999: at(99.9),
            max: milliseconds(Duration::from_nanos(histogram.max())),
        })
    }
}

/// Where the time of a measurement went, in seconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Spent {
    /// It took so long.
    pub(crate) wall_s: f64,
    /// The subject worked so long.
    pub(crate) subject_s: f64,
    /// The generator worked so long.
    pub(crate) generator_s: f64,
    /// The rest of the machine worked so long: noise, if it is much.
    pub(crate) others_s: f64,
    /// What the subject held at the end.
    pub(crate) memory: Memory,
}

/// A measurement under way.
pub(crate) struct Window<'a> {
    subject: &'a Subject,
    begin: Instant,
    subject_before: Duration,
    generator_before: Duration,
    machine_before: Duration,
}

impl<'a> Window<'a> {
    /// Begins to count.
    pub(crate) fn open(subject: &'a Subject) -> Result<Self> {
        Ok(Self {
            subject,
            machine_before: machine_busy()?,
            generator_before: generator_cpu()?,
            begin: Instant::now(),
            subject_before: subject.cpu()?,
        })
    }

    /// Ends to count.
    pub(crate) fn close(self) -> Result<Spent> {
        let subject = self.subject.cpu()? - self.subject_before;
        let wall = self.begin.elapsed();
        let generator = generator_cpu()?.saturating_sub(self.generator_before);
        let machine = machine_busy()?.saturating_sub(self.machine_before);
        Ok(Spent {
            wall_s: wall.as_secs_f64(),
            subject_s: subject.as_secs_f64(),
            generator_s: generator.as_secs_f64(),
            others_s: machine.saturating_sub(subject + generator).as_secs_f64(),
            memory: self.subject.memory()?,
        })
    }
}

impl Spent {
    /// The subject's CPU time for each of `count` things, in microseconds.
    pub(crate) fn microseconds_each(self, count: u64) -> f64 {
        self.subject_s * 1e6 / number(count.max(1))
    }

    /// Both together, this one first.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            memory: other.memory,
            wall_s: self.wall_s + other.wall_s,
            subject_s: self.subject_s + other.subject_s,
            generator_s: self.generator_s + other.generator_s,
            others_s: self.others_s + other.others_s,
        }
    }
}

fn generator_cpu() -> Result<Duration> {
    CpuClock::of(std::process::id())?.read()
}

/// A count as a number to calculate with. Counts here stay far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

/// A time in milliseconds.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::viewers::nanosecond_histogram;

    #[test]
    fn percentiles_are_milliseconds() {
        let mut histogram = nanosecond_histogram();
        for milliseconds in 1..=100_u64 {
            histogram.record(milliseconds * 1_000_000).unwrap();
        }
        let percentiles = Percentiles::of(&histogram).unwrap();
        assert!((percentiles.p50 - 50.0).abs() < 0.1, "{percentiles:?}");
        assert!((percentiles.p99 - 99.0).abs() < 0.1, "{percentiles:?}");
        assert!((percentiles.max - 100.0).abs() < 0.1, "{percentiles:?}");
    }

    #[test]
    fn nothing_has_no_percentiles() {
        assert_eq!(Percentiles::of(&nanosecond_histogram()), None);
    }

    #[test]
    fn a_second_of_work_for_a_million_things_is_a_microsecond_each() {
        let spent = Spent { subject_s: 1.0, ..Spent::default() };
        assert!((spent.microseconds_each(1_000_000) - 1.0).abs() < 1e-9);
        assert!(spent.microseconds_each(0) > 0.0);
    }
}
