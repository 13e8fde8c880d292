//! `runcast doctor --redis`: what of a Redis is as the server needs it.

use std::io::{self, Write as _};
use std::process::ExitCode;

use runcast_redis::{Finding, Grade, OpenError, RedisOptions, examine};
use serde_json::{Value, json};

use super::{CANNOT, PROBLEMS};
use crate::global::block_on;
use crate::palette::{Palette, Tone};
use crate::report::{note, printable};

/// The width of the column that says what was looked at.
const CHECK_CHARS: usize = 16;

/// Looks at the Redis that a server with these options would use.
pub(super) fn check(options: &RedisOptions, json: bool) -> anyhow::Result<ExitCode> {
    let examined = block_on(async { Ok(examine(options).await) })?;
    let findings = match examined {
        Ok(findings) => findings,
        Err(error) => return Ok(cannot(&error)),
    };
    let problems = findings.iter().filter(|finding| finding.grade == Grade::Problem).count();
    if json {
        writeln!(io::stdout(), "{}", as_json(options, &findings, problems == 0))?;
    } else {
        print(options, &findings, problems)?;
    }
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::from(PROBLEMS) })
}

fn cannot(error: &OpenError) -> ExitCode {
    note(&format!("cannot check: {error}"));
    ExitCode::from(CANNOT)
}

fn print(options: &RedisOptions, findings: &[Finding], problems: usize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let palette = Palette::of(&io::stdout());
    writeln!(out, "{}", printable(&options.shown_url()))?;
    for finding in findings {
        let (tone, word) = match finding.grade {
            Grade::Ok => (Tone::Good, "ok     "),
            Grade::Note => (Tone::Dim, "note   "),
            Grade::Problem => (Tone::Bad, "problem"),
        };
        let remedy = finding.remedy.as_ref().map(|remedy| format!("; {remedy}"));
        let what = printable(&format!("{}{}", finding.what, remedy.unwrap_or_default()));
        let check = finding.check;
        writeln!(out, "{}  {check:CHECK_CHARS$}  {what}", palette.paint(tone, word))?;
    }
    match problems {
        0 => writeln!(out, "{}", palette.paint(Tone::Good, "It will do.")),
        count => writeln!(out, "{}", palette.paint(Tone::Bad, &format!("Problems: {count}"))),
    }
}

fn as_json(options: &RedisOptions, findings: &[Finding], is_sound: bool) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "severity": match finding.grade {
                Grade::Ok => "ok",
                Grade::Note => "note",
                Grade::Problem => "problem",
            },
            "check": finding.check,
            "what": finding.what,
            "repair": finding.remedy,
        })
    };
    json!({
        "redis": options.shown_url(),
        "sound": is_sound,
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
    })
}
