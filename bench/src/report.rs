//! What was measured, as a table for people and as JSON for machines.

mod table;

use std::collections::BTreeMap;

use anyhow::Result;
use serde::Serialize;

use crate::machine::Machine;
use crate::rows::{Line, Row, Target};
use crate::sample::{Percentiles, Sample, number};
use crate::subject::Kind;
use crate::viewers::Faults;

pub(crate) use table::{list, progress};

/// All rows.
pub(crate) struct Report {
    machine: Machine,
    scale: &'static str,
    repetitions: usize,
    /// In the order of the table.
    pub(crate) rows: Vec<Measured>,
}

/// One row, measured several times.
pub(crate) struct Measured {
    row: &'static Row,
    samples: BTreeMap<Kind, Vec<Sample>>,
    failures: Vec<String>,
}

/// Whether a line is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// It is.
    Met,
    /// It is not.
    Missed,
    /// There is no target, or not all that it needs was measured.
    None,
}

impl Measured {
    /// Of a row, without samples.
    pub(crate) fn of(row: &'static Row) -> Self {
        Self { row, samples: BTreeMap::new(), failures: Vec::new() }
    }

    /// Adds a measurement, or why there is none.
    pub(crate) fn add(&mut self, kind: Kind, sample: Result<Sample>) {
        match sample {
            Ok(sample) => self.samples.entry(kind).or_default().push(sample),
            Err(error) => self.failures.push(format!("{error:#}")),
        }
    }

    fn figure(&self, kind: Kind, name: &str) -> Option<f64> {
        let values = self.samples.get(&kind)?.iter();
        median(values.filter_map(|sample| sample.figures.get(name).copied()).collect())
    }

    fn ratio(&self, line: &Line) -> Option<f64> {
        let above_zero = |kind| self.figure(kind, line.figure).filter(|&value| value > 0.0);
        Some(above_zero(Kind::Server)? / above_zero(Kind::Floor)?)
    }

    fn verdict(&self, line: &Line) -> Verdict {
        let (value, limit) = match line.target {
            Target::Shown => return Verdict::None,
            Target::TimesFloor(limit) => (self.ratio(line), limit),
            Target::AtMost(limit) => (self.figure(Kind::Server, line.figure), limit),
        };
        match value {
            None => Verdict::None,
            Some(value) if value <= limit => Verdict::Met,
            Some(_) => Verdict::Missed,
        }
    }

    fn percentiles(&self, kind: Kind) -> Option<Percentiles> {
        let all: Vec<Percentiles> =
            self.samples.get(&kind)?.iter().filter_map(|sample| sample.latency_ms).collect();
        let of = |field: fn(&Percentiles) -> f64| median(all.iter().map(field).collect());
        Some(Percentiles {
            count: all.iter().map(|one| one.count).sum(),
            p50: of(|one| one.p50)?,
            p90: of(|one| one.p90)?,
            p99: of(|one| one.p99)?,
            p999: of(|one| one.p999)?,
            max: all.iter().map(|one| one.max).fold(0.0, f64::max),
        })
    }

    /// What the server, else the floor, held at the end.
    fn memory_mib(&self) -> Option<f64> {
        let samples = self.samples.get(&Kind::Server).or_else(|| self.samples.get(&Kind::Floor))?;
        let mib = |sample: &Sample| number(sample.spent.memory.rss_kib) / 1024.0;
        median(samples.iter().map(mib).collect())
    }

    fn faults(&self) -> Faults {
        let all = self.samples.values().flatten();
        all.fold(Faults::default(), |sum, sample| sum.plus(sample.faults))
    }

    fn problem(&self) -> Option<&str> {
        self.samples.values().flatten().find_map(|sample| sample.problem.as_deref())
    }
}

impl Report {
    /// An empty one.
    pub(crate) fn new(machine: Machine, scale: &'static str, repetitions: usize) -> Self {
        Self { machine, scale, repetitions, rows: Vec::new() }
    }

    /// Whether every row was measured and nothing was lost, doubled, out of order or refused.
    /// A missed target is no failure: figures depend on the machine.
    pub(crate) fn is_sound(&self) -> bool {
        self.rows.iter().all(|row| row.failures.is_empty() && row.faults().is_none())
    }

    /// Everything, for machines.
    pub(crate) fn json(&self) -> Result<String> {
        let rows: Vec<serde_json::Value> = self.rows.iter().map(Measured::json).collect();
        Ok(serde_json::to_string_pretty(&serde_json::json!({
            "machine": self.machine,
            "scale": self.scale,
            "repetitions": self.repetitions,
            "sound": self.is_sound(),
            "rows": rows,
        }))?)
    }
}

impl Measured {
    fn json(&self) -> serde_json::Value {
        let line = |line: &Line| {
            let target = match line.target {
                Target::Shown => serde_json::Value::Null,
                Target::AtMost(limit) => serde_json::json!({ "at_most": limit }),
                Target::TimesFloor(limit) => serde_json::json!({ "times_floor": limit }),
            };
            serde_json::json!({
                "figure": line.figure,
                "about": line.about,
                "unit": line.unit,
                "target": target,
                "server": self.figure(Kind::Server, line.figure),
                "floor": self.figure(Kind::Floor, line.figure),
                "ratio": self.ratio(line),
                "verdict": self.verdict(line),
            })
        };
        serde_json::json!({
            "row": self.row.name,
            "about": self.row.about,
            "lines": self.row.lines.iter().map(line).collect::<Vec<_>>(),
            "faults": self.faults(),
            "failures": self.failures,
            "server": self.samples.get(&Kind::Server),
            "floor": self.samples.get(&Kind::Floor),
        })
    }
}

/// The value in the middle; the mean of the two in the middle of an even number.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::ROWS;

    fn measured(floor: f64, server: f64) -> Measured {
        let mut measured = Measured::of(&ROWS[0]);
        measured.add(Kind::Floor, Ok(Sample::default().with("cpu", floor)));
        measured.add(Kind::Server, Ok(Sample::default().with("cpu", server)));
        measured
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 9.0]), Some(3.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn a_ratio_to_the_floor_is_met_or_missed() {
        let line = &ROWS[0].lines[0];
        assert_eq!(line.target, Target::TimesFloor(1.3));
        assert_eq!(measured(2.0, 2.6).verdict(line), Verdict::Met);
        assert_eq!(measured(2.0, 2.7).verdict(line), Verdict::Missed);
    }

    #[test]
    fn without_a_floor_there_is_no_verdict() {
        let mut alone = Measured::of(&ROWS[0]);
        alone.add(Kind::Server, Ok(Sample::default().with("cpu", 1.0)));
        assert_eq!(alone.verdict(&ROWS[0].lines[0]), Verdict::None);
    }

    #[test]
    fn a_row_that_lost_something_is_not_sound() {
        let machine = Machine::look(&std::env::temp_dir()).unwrap();
        let mut report = Report::new(machine, "smoke", 1);
        report.rows.push(measured(1.0, 1.0));
        assert!(report.is_sound());
        let faults = Faults { lost: 1, ..Faults::default() };
        report.rows[0].add(Kind::Server, Ok(Sample { faults, ..Sample::default() }));
        assert!(!report.is_sound());
    }

    #[test]
    fn names_of_rows_and_figures_are_unique() {
        for (at, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..at].iter().all(|other| other.name != row.name), "{}", row.name);
            for (at, line) in row.lines.iter().enumerate() {
                assert!(row.lines[..at].iter().all(|other| other.figure != line.figure));
            }
        }
    }
}
