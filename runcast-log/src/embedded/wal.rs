//! Write-ahead logs: what was appended, in groups that count as a whole or not at all.
//!
//! The format of all files is in `docs/log-format.md`, and nowhere else.

#[cfg(test)]
mod fuzz;
pub(crate) mod group;
pub(crate) mod header;
pub(crate) mod record;

/// The newest format that this code reads, and the one it writes.
pub const FORMAT_VERSION: u32 = 4;

/// The name of a file by its number.
pub(crate) fn file_name(number: u32) -> String {
    format!("wal-{number:010}.log")
}

/// The number of a file by its name.
pub(crate) fn file_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("wal-")?.strip_suffix(".log")?;
    let number = digits.parse().ok()?;
    (file_name(number) == name).then_some(number)
}
