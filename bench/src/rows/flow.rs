//! Lets events flow to viewers and accounts for each of them.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::publish::{Plan, Progress, Published, publish_in_background};
use crate::sample::{Percentiles, Sample, Spent, Window};
use crate::subject::Subject;
use crate::viewers::Fleet;

/// How long viewers may take to connect, in all.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(60);

/// How long viewers may take for what was acknowledged, after the last acknowledgement.
pub(super) const ARRIVE_MAX: Duration = Duration::from_secs(20);

/// How long a whole flow may take.
const FLOW_MAX: Duration = Duration::from_secs(300);

/// The names of so many runs.
pub(super) fn run_names(prefix: &str, count: usize) -> Arc<[String]> {
    (0..count).map(|number| format!("{prefix}-{number}")).collect()
}

/// Publishes what is planned while the viewers read, until each has read all of it.
pub(super) fn flow(subject: &Subject, fleet: &mut Fleet, plan: Plan) -> Result<(Published, Spent)> {
    let window = Window::open(subject)?;
    let published = flow_from(subject.address(), fleet, plan)?;
    Ok((published, window.close()?))
}

/// The same from one server to the viewers of another.
pub(super) fn flow_from(from: SocketAddrV4, fleet: &mut Fleet, plan: Plan) -> Result<Published> {
    let progress = Progress::of(plan.runs.len());
    fleet.begin_record();
    let publisher = publish_in_background(from, plan, Arc::clone(&progress));
    fleet.drive(FLOW_MAX, |_| progress.is_finished())?;
    progress.stop();
    let published = publisher.join().map_err(|_| anyhow!("the publisher panicked"))??;
    arrive(fleet, &progress)?;
    Ok(published)
}

/// Waits until the viewers have read all that was acknowledged; what does not come is lost.
pub(super) fn arrive(fleet: &mut Fleet, progress: &Progress) -> Result<()> {
    fleet.set_goals(|run| progress.acknowledged(run));
    let all = fleet.drive(ARRIVE_MAX, |fleet| fleet.seen().short_of_goal == 0)?;
    if !all {
        fleet.count_missing();
    }
    Ok(())
}

/// What viewers and publishers have to say, without figures.
pub(super) fn sample_of(fleet: &Fleet, published: &Published, spent: Spent) -> Sample {
    let mut faults = fleet.seen().faults;
    faults.refused += published.refused;
    Sample {
        latency_ms: Percentiles::of(&fleet.seen().latency),
        faults,
        problem: published.problem.clone(),
        spent,
        ..Sample::default()
    }
}

/// Publishes without viewers and answers how far each run got.
pub(super) fn fill(subject: &Subject, plan: &Plan) -> Result<Arc<Progress>> {
    let progress = Progress::of(plan.runs.len());
    let published = crate::publish::publish(subject.address(), plan, &progress)?;
    match published.problem {
        None => Ok(progress),
        Some(problem) => Err(anyhow!(problem)).context("an append was refused"),
    }
}
