//! The table for people.

use std::fmt::Write as _;

use anyhow::Result;

use super::{Measured, Report, Verdict};
use crate::rows::{Line, Row, Target};
use crate::sample::Sample;
use crate::subject::Kind;

const COLUMNS: usize = 14;

const HEADS: [&str; COLUMNS] = [
    "row",
    "figure",
    "unit",
    "floor",
    "server",
    "ratio",
    "target",
    "",
    "p50 ms",
    "p99 ms",
    "MiB",
    "lost",
    "doubled",
    "disordered",
];

/// Columns that are text, to be aligned to the left.
const TEXTS: [usize; 3] = [0, 1, 7];

/// Where other processes took more of the machine than this, a row is marked as noisy.
const NOISE_MAX: f64 = 0.15;

impl Report {
    /// The table, a title above it and remarks below.
    pub(crate) fn table(&self) -> String {
        let mut cells = vec![HEADS.map(str::to_owned)];
        for row in &self.rows {
            cells.extend(
                row.row.lines.iter().enumerate().map(|(at, line)| row.cells(line, at == 0)),
            );
        }
        let mut out = format!(
            "\n{} scale, medians of {}, {} × {}, Linux {}\n\n",
            self.scale,
            self.repetitions,
            self.machine.cores,
            self.machine.processor,
            self.machine.kernel
        );
        out.push_str(&aligned(&cells));
        for row in &self.rows {
            out.push_str(&row.remarks(self.machine.cores));
        }
        out
    }
}

impl Measured {
    fn cells(&self, line: &Line, first: bool) -> [String; COLUMNS] {
        let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), short);
        let once = |text: String| if first { text } else { String::new() };
        let latency = self.percentiles(Kind::Server).or_else(|| self.percentiles(Kind::Floor));
        let faults = self.faults();
        let target = match line.target {
            Target::Shown => String::new(),
            Target::AtMost(limit) => format!("≤ {}", short(limit)),
            Target::TimesFloor(limit) => format!("≤ {limit} ×"),
        };
        let verdict = match self.verdict(line) {
            Verdict::Met => "met",
            Verdict::Missed => "MISSED",
            Verdict::None => "",
        };
        [
            once(self.row.name.to_owned()),
            line.about.to_owned(),
            line.unit.to_owned(),
            shown(self.figure(Kind::Floor, line.figure)),
            shown(self.figure(Kind::Server, line.figure)),
            self.ratio(line).map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            target,
            verdict.to_owned(),
            once(latency.map_or_else(String::new, |latency| short(latency.p50))),
            once(latency.map_or_else(String::new, |latency| short(latency.p99))),
            once(self.memory_mib().map_or_else(String::new, short)),
            once(faults.lost.to_string()),
            once(faults.doubled.to_string()),
            once(faults.disordered.to_string()),
        ]
    }

    fn remarks(&self, cores: usize) -> String {
        let name = self.row.name;
        let mut out = String::new();
        for failure in &self.failures {
            let _ = writeln!(out, "{name}: FAILED: {failure}");
        }
        let refused = self.faults().refused;
        if refused > 0 {
            let problem = self.problem().unwrap_or("connections ended by themselves");
            let _ = writeln!(out, "{name}: {refused} REFUSED: {problem}");
        }
        let noisy = |sample: &&Sample| {
            let cores = f64::from(u32::try_from(cores).unwrap_or(u32::MAX));
            sample.spent.others_s > NOISE_MAX * cores * sample.spent.wall_s.max(0.1)
        };
        let count = self.samples.values().flatten().filter(noisy).count();
        if count > 0 {
            let _ = writeln!(out, "{name}: other processes were busy in {count} measurements");
        }
        out
    }
}

/// One line while the measuring goes on.
pub(crate) fn progress(
    row: &Row,
    kind: Kind,
    repetition: usize,
    sample: &Result<Sample>,
) -> String {
    let kind = format!("{kind:?}").to_lowercase();
    let mut out = format!("{:<14} {repetition} {kind:<6}", row.name);
    match sample {
        Err(error) => {
            let _ = write!(out, " failed: {error:#}");
        }
        Ok(sample) => {
            for line in row.lines {
                if let Some(&value) = sample.figures.get(line.figure) {
                    let _ = write!(out, "  {} {} {}", line.figure, short(value), line.unit);
                }
            }
            let spent = sample.spent;
            let _ = write!(
                out,
                "  [{:.1} s, busy: {kind} {:.1}, generator {:.1}, others {:.1}]",
                spent.wall_s, spent.subject_s, spent.generator_s, spent.others_s
            );
        }
    }
    out
}

/// The rows and what they are.
pub(crate) fn list(rows: &[Row]) -> String {
    rows.iter().fold(String::new(), |mut out, row| {
        let _ = writeln!(out, "{:<14} {}", row.name, row.about);
        out
    })
}

/// A figure with about three digits that say something.
fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.095 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn aligned(cells: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..HEADS.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in cells {
        let mut text = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            let _ = if TEXTS.contains(&column) {
                write!(text, "{cell:<width$}  ")
            } else {
                write!(text, "{cell:>width$}  ")
            };
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let expected = ["1234", "12.3", "1.23", "0.12", "0.012", "-0.50"];
        let values = [1234.4, 12.34, 1.234, 0.123, 0.0123, -0.5];
        assert_eq!(values.map(short), expected);
    }

    #[test]
    fn columns_stand_under_each_other() {
        let row = |name: &str, value: &str| {
            let mut cells = [const { String::new() }; COLUMNS];
            cells[0] = name.into();
            cells[3] = value.into();
            cells
        };
        let table = aligned(&[row("a", "1.0"), row("long", "200.0")]);
        let ends: Vec<usize> = table.lines().map(str::len).collect();
        assert_eq!(ends[0], ends[1]);
    }
}
