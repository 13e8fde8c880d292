//! What of the log is there, what it takes, and which servers are connected.

use std::collections::BTreeMap;

use redis::RedisResult;
use runcast_event::RunId;

use super::{Finding, Patient, amount};
use crate::dial::CLIENT_NAME;

/// Runs that are measured, of all.
const SAMPLE_RUNS: usize = 100;
/// Servers that are named.
const NODES_NAMED_MAX: usize = 16;

pub(super) async fn findings(patient: &mut Patient) -> Vec<Finding> {
    if patient.word.is_some() {
        // The names are with one node, and what belongs to them with all.
        return vec![nodes(patient).await];
    }
    let kept = match kept(patient).await {
        Ok(what) => Finding::ok("keys", what),
        Err(error) => {
            let remedy = "allow ZCARD, ZRANDMEMBER, XLEN and MEMORY USAGE, or do without";
            Finding::note("keys", format!("cannot be measured: {error}"), remedy)
        }
    };
    vec![kept, nodes(patient).await]
}

/// How many runs there are, and what those of a sample take.
async fn kept(patient: &mut Patient) -> RedisResult<String> {
    let names = patient.common.keys.names();
    let runs: u64 = patient.ask(redis::cmd("ZCARD").arg(&names)).await?;
    let sample: Vec<String> =
        patient.ask(redis::cmd("ZRANDMEMBER").arg(&names).arg(SAMPLE_RUNS)).await?;
    let sample: Vec<RunId> =
        sample.iter().filter_map(|name| RunId::from_stored(name).ok()).collect();
    let (mut events, mut bytes) = (0_u64, 0_u64);
    for run in &sample {
        let keys = &patient.common.keys;
        let stream = keys.events(run);
        let all = [keys.meta(run), keys.base(run), keys.sizes(run), keys.outbox(run)];
        events += patient.ask::<u64>(redis::cmd("XLEN").arg(&stream)).await?;
        for key in all.iter().chain([&stream]) {
            let mut usage = redis::cmd("MEMORY");
            usage.arg("USAGE").arg(key);
            bytes += patient.ask::<Option<u64>>(&usage).await?.unwrap_or(0);
        }
    }
    let measured = sample.len() as u64;
    if measured == 0 {
        return Ok("no runs".to_owned());
    }
    let all = amount(bytes.saturating_mul(runs) / measured);
    let each = bytes.checked_div(events).map_or(String::new(), |each| {
        format!(", {each} bytes an event with all that belongs to its run")
    });
    let exactly = if measured == runs { "" } else { "about " };
    Ok(format!("runs: {runs}, deleted ones among them: {exactly}{all}{each}"))
}

/// Which servers are connected, by the names that they give their connections.
async fn nodes(patient: &mut Patient) -> Finding {
    const CHECK: &str = "servers";
    let list: RedisResult<String> = patient.ask(redis::cmd("CLIENT").arg("LIST")).await;
    let list = match list {
        Ok(list) => list,
        Err(error) => {
            let what = format!("cannot be listed: {error}");
            return Finding::note(CHECK, what, "allow CLIENT LIST, or do without");
        }
    };
    let mut nodes: BTreeMap<&str, &str> = BTreeMap::new();
    for line in list.lines() {
        let said = |name| line.split(' ').find_map(|word| word.strip_prefix(name));
        if let Some(node) = said("name=").and_then(|name| name.strip_prefix(CLIENT_NAME))
            && let Some(address) = said("addr=")
            && node != "doctor"
        {
            nodes
                .entry(node)
                .or_insert_with(|| address.rsplit_once(':').map_or("", |(host, _)| host));
        }
    }
    let mut named: Vec<String> =
        nodes.iter().take(NODES_NAMED_MAX).map(|(node, host)| format!("{node} ({host})")).collect();
    if nodes.len() > NODES_NAMED_MAX {
        named.push("…".to_owned());
    }
    match nodes.len() {
        0 => Finding::ok(CHECK, "none is connected"),
        count => Finding::ok(CHECK, format!("{count} connected: {}", named.join(", "))),
    }
}
