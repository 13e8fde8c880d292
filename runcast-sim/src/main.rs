//! Lives through seeds and says which broke a promise.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Parser;

/// The embedded log on a simulated disk, seed after seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// One seed, with all that happens in it.
    #[arg(long)]
    seed: Option<u64>,
    /// The first of the seeds; by chance if it is not given.
    #[arg(long)]
    from: Option<u64>,
    /// So many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// No more of them after so many seconds.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    std::panic::set_hook(Box::new(|_| {}));
    let Some(seed) = arguments.seed else { return many(&arguments) };
    let directory = tempfile::tempdir()?;
    match runcast_sim::live(seed, directory.path(), true) {
        Ok(lived) => {
            println!("seed {seed}: {lived:?}");
            Ok(())
        }
        Err(broken) => bail!("{broken}"),
    }
}

fn many(arguments: &Arguments) -> Result<()> {
    let from = arguments.from.unwrap_or_else(|| fastrand::u64(..1 << 40));
    let begin = Instant::now();
    let time = Duration::from_secs(arguments.seconds);
    let (next, operations, broken) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let directory = tempfile::tempdir().expect("there is a place for a directory");
                while begin.elapsed() < time {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= arguments.seeds {
                        break;
                    }
                    match runcast_sim::live(from + number, directory.path(), false) {
                        Ok(lived) => {
                            operations.fetch_add(lived.operations, Ordering::Relaxed);
                        }
                        Err(error) => {
                            broken.fetch_add(1, Ordering::Relaxed);
                            eprintln!("{error}\n");
                        }
                    }
                }
            });
        }
    });
    let lived = next.into_inner().min(arguments.seeds);
    println!(
        "{lived} seeds from {from} with {} operations on the disk: {:.0} seeds/s",
        operations.into_inner(),
        lived as f64 / begin.elapsed().as_secs_f64()
    );
    match broken.into_inner() {
        0 => Ok(()),
        broken => bail!("{broken} of them broke a promise"),
    }
}
