//! `runcast backup` and `runcast restore`: copies of a data directory, also of one that is served.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use jiff::Timestamp;
use runcast_log::backup::{BackedUp, BackupOptions, back_up, restore};

use crate::progress::Progress;
use crate::report::{UsageError, note};

/// Copy a data directory, also while a server has it; again and again, only what is new
///
/// Reads the directory from outside: run it on the server's machine. What was acknowledged before it
/// begins is in it. Each backup is a set in TARGET, and each set a whole data directory.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  runcast backup ./runcast-data /mnt/backup/runcast
  runcast backup ./runcast-data /mnt/backup/runcast --keep 7
  runcast restore /mnt/backup/runcast ./runcast-data"
)]
pub(crate) struct Backup {
    /// The server's data directory
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// A directory of this log's backups, best on another disk; made if it does not exist
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    /// How many sets to keep, with the new one; what they share is there once
    #[arg(long, value_name = "SETS", default_value_t = 1)]
    keep: usize,
    /// Read the whole set back, and not only what was copied
    #[arg(long)]
    verify: bool,
}

/// Make a data directory of a backup
///
/// All of it is read and checked. Runs that had not ended begin a new epoch: a viewer that has seen
/// more than the backup has is told so, and goes on where both agree.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  runcast restore /mnt/backup/runcast ./runcast-data
  runcast restore /mnt/backup/runcast/2026-11-21T10-00-00.000Z ./runcast-data"
)]
pub(crate) struct Restore {
    /// The target of a backup, of which the newest set is taken, or one set
    #[arg(value_name = "TARGET")]
    target: PathBuf,
    /// The new data directory; empty, or made
    #[arg(value_name = "DATA")]
    data: PathBuf,
}

/// The second that epochs which were passed over are counted from: the year 2026.
const EPOCHS_FROM_S: i64 = 1_767_225_600;

/// An epoch that no log has come to: each begins one at a restart at most, this is one a second.
pub(crate) fn epoch_min() -> u32 {
    u32::try_from(Timestamp::now().as_second() - EPOCHS_FROM_S).unwrap_or(1)
}

/// Runs `runcast backup`.
pub(crate) fn backup(args: &Backup) -> anyhow::Result<ExitCode> {
    if args.keep == 0 {
        return Err(UsageError("--keep must be at least 1: the new set".to_owned()).into());
    }
    let name = Timestamp::now().strftime("%Y-%m-%dT%H-%M-%S%.3fZ").to_string();
    let options = BackupOptions { name, keep: args.keep, verify_all: args.verify };
    let mut progress = Progress::new("copied");
    let made = back_up(&args.data, &args.target, &options, &mut |bytes| progress.add(bytes));
    drop(progress);
    let BackedUp { set, runs, events, files_copied, bytes_copied, files_linked, damaged, .. } =
        made?;
    writeln!(
        io::stdout(),
        "{}: {runs} runs, {events} events; copied {files_copied} files, {bytes_copied} bytes; \
         {files_linked} files were there",
        set.display()
    )?;
    if damaged.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    tell_damaged(&damaged);
    note("earlier sets are kept: they may have what is damaged now. See \"runcast doctor\"");
    Ok(ExitCode::FAILURE)
}

/// Runs `runcast restore`.
pub(crate) fn restored(args: &Restore) -> anyhow::Result<ExitCode> {
    let mut progress = Progress::new("copied");
    let made = restore(&args.target, &args.data, epoch_min(), &mut |bytes| progress.add(bytes));
    drop(progress);
    let made = made?;
    writeln!(
        io::stdout(),
        "{}: {} runs, {} events as of {}, from {}",
        args.data.display(),
        made.runs,
        made.events,
        made.taken,
        made.set.display()
    )?;
    if made.damaged.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    tell_damaged(&made.damaged);
    note("the backup is damaged there; everything else was restored");
    Ok(ExitCode::FAILURE)
}

fn tell_damaged(damaged: &[String]) {
    damaged.iter().for_each(|damaged| note(damaged));
}
