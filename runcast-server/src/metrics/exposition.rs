//! The page at `/metrics`: every name, help text and unit, as OpenMetrics writes them.
//!
//! Reads counters and asks the log, the hub and the run states how they are. Counts nothing itself.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use runcast_hub::{GapReason, Hub, HubStats};
use runcast_log::{BytesWritten, LogHealth, LogStats, Spread};
use runcast_run::Status;

use super::traffic::Totals;
use super::{Eviction, GAP_REASONS, Metrics, Transport, load, process};
use crate::problem::Code;
use crate::projection::Projection;

/// The media type of the page.
pub(crate) const METRICS_MEDIA_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes the page.
pub(crate) struct Exposition(Registry);

impl Exposition {
    pub(crate) fn new(metrics: Arc<Metrics>, hub: Hub, projection: Projection) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Sources { metrics, hub, projection }));
        Self(registry)
    }

    /// The page as it is now. Asks the system: call it where blocking is allowed.
    pub(crate) fn render(&self) -> String {
        let mut page = String::new();
        encode(&mut page, &self.0).expect("a String takes every write");
        page
    }
}

/// Everything that is asked.
struct Sources {
    metrics: Arc<Metrics>,
    hub: Hub,
    projection: Projection,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.connections(&mut page)?;
        self.deliveries(&mut page)?;
        let hub = self.hub.measure();
        self.readers(&mut page, &hub)?;
        self.appends(&mut page, &hub)?;
        log(&mut page, &self.hub.measure_log(), &self.hub.health())?;
        self.runs(&mut page)?;
        process(&mut page)
    }
}

impl Sources {
    fn of_transports(&self, value: impl Fn(&Totals) -> u64) -> Vec<(&'static str, u64)> {
        let total = |transport: Transport| value(&self.metrics.of(transport).totals());
        Transport::ALL.iter().map(|transport| (transport.as_str(), total(*transport))).collect()
    }

    fn connections(&self, page: &mut Page<'_>) -> fmt::Result {
        let open = Transport::ALL.map(|transport| {
            let open = self.metrics.of(transport).open();
            (transport.as_str(), open)
        });
        let by = "transport";
        page.gauges("runcast_connections", "Connections that are open", by, &open)?;
        let opened = self.of_transports(|totals| totals.opened);
        page.counters("runcast_connections_opened", "Connections that were opened", by, &opened)?;
        let resumes = self.of_transports(|totals| totals.resumes);
        page.counters("runcast_resumes", "Follows that began with a cursor", by, &resumes)?;
        let stalls = self.of_transports(|totals| totals.stalls);
        let help = "Times that a socket was full and its connection waited for the client";
        page.counters("runcast_stalls", help, by, &stalls)?;
        self.evictions(page)
    }

    fn evictions(&self, page: &mut Page<'_>) -> fmt::Result {
        let help = "Connections that the server closed because of their client";
        let mut family = page.begin("runcast_evictions", help, MetricType::Counter)?;
        for transport in Transport::ALL {
            let evictions = self.metrics.of(transport).totals().evictions;
            for (reason, count) in Eviction::ALL.iter().zip(evictions) {
                let labels = [("transport", transport.as_str()), ("reason", reason.as_str())];
                counter(&mut family.encode_family(&labels)?, count)?;
            }
        }
        Ok(())
    }

    fn deliveries(&self, page: &mut Page<'_>) -> fmt::Result {
        let by = "transport";
        let events = self.of_transports(|totals| totals.events);
        page.counters(
            "runcast_delivered_events",
            "Events that readers were taken past",
            by,
            &events,
        )?;
        let frames = self.of_transports(|totals| totals.frames);
        let help = "Pieces of bytes that carried them";
        page.counters("runcast_delivered_frames", help, by, &frames)?;
        let bytes = self.of_transports(|totals| totals.bytes);
        page.counters("runcast_sent_bytes", "Bytes that sockets took", by, &bytes)?;
        let failed = self.of_transports(|totals| totals.failed);
        let help = "Connections that broke or were closed while there was something to send";
        page.counters("runcast_failed_deliveries", help, by, &failed)?;
        let help =
            "From an event being durable to its frame being handed to a live reader's socket";
        page.times("runcast_delivery_seconds", help, &self.metrics.delivery_times.spread())
    }

    fn readers(&self, page: &mut Page<'_>, hub: &HubStats) -> fmt::Result {
        let gaps = GAP_REASONS.map(|reason| {
            let count = load(&self.metrics.gaps[reason as usize]);
            (gap_name(reason), count)
        });
        let help = "Times that a reader was told of events that it cannot have";
        page.counters("runcast_gaps", help, "reason", &gaps)?;
        page.gauge("runcast_followers", "Followers of runs, on all transports", hub.followers)?;
        page.gauge("runcast_tails", "Runs whose newest events are in memory", hub.tails)?;
        page.gauge("runcast_tails_bytes", "Bytes of those events", hub.tails_bytes)?;
        let help = "How many events a follower was behind when it began to read the log";
        page.counts("runcast_catch_up_events", help, &hub.catch_up_events)
    }

    fn appends(&self, page: &mut Page<'_>, hub: &HubStats) -> fmt::Result {
        let requests = load(&self.metrics.append_requests);
        page.counter("runcast_append_requests", "Requests to append events", requests)?;
        let help = "Batches that were acknowledged";
        page.counter("runcast_append_batches", help, hub.append_batches)?;
        page.counter("runcast_append_events", "Events that were stored", hub.append_events)?;
        let help = "Events that were acknowledged again because they were stored before";
        page.counter("runcast_append_duplicates", help, hub.append_duplicates)?;
        let help = "Bytes of the events of acknowledged batches";
        page.counter("runcast_append_bytes", help, hub.append_bytes)?;
        let refusals: Vec<_> = Code::ALL
            .iter()
            .map(|code| (code.as_str(), load(&self.metrics.append_refusals[*code as usize])))
            .collect();
        let help = "Appends, or the rest of them, that were refused";
        page.counters("runcast_append_refusals", help, "code", &refusals)?;
        let help = "From a batch being read to its acknowledgement";
        page.times("runcast_append_seconds", help, &hub.append_ns)
    }

    fn runs(&self, page: &mut Page<'_>) -> fmt::Result {
        let statuses = self.projection.statuses();
        let runs: Vec<_> =
            Status::ALL.iter().map(|s| (s.as_str(), statuses[*s as usize] as u64)).collect();
        page.gauges("runcast_runs", "Runs by their status", "status", &runs)?;
        let backlog = self.projection.backlog() as u64;
        let help = "Runs with events that are not in the run states yet";
        page.gauge("runcast_projection_backlog_runs", help, backlog)?;
        let deleted = load(&self.metrics.retention_deletions);
        let help = "Runs that were deleted because they were not to be kept longer";
        page.counter("runcast_retention_deleted_runs", help, deleted)?;
        let [runs, feed] = &self.metrics.retention_trims;
        let trimmed = [("runs", load(runs)), ("feed", load(feed))];
        let help = "Events that were given up because they were not to be kept longer";
        page.counters("runcast_retention_trimmed_events", help, "of", &trimmed)
    }
}

fn log(page: &mut Page<'_>, log: &LogStats, health: &LogHealth) -> fmt::Result {
    let is = |is: bool| u64::from(is);
    let states = [
        ("healthy", is(*health == LogHealth::Healthy)),
        ("full", is(matches!(health, LogHealth::Full { .. }))),
        ("failed", is(matches!(health, LogHealth::Failed { .. }))),
    ];
    page.gauges("runcast_log_health", "1 for the state that the log is in", "state", &states)?;
    page.gauge("runcast_log_disk_bytes", "Bytes of the log's files", log.disk_bytes)?;
    page.gauge("runcast_log_files", "Files of the log", log.files)?;
    let help = "Files of the log that are sorted segments";
    page.gauge("runcast_log_segments", help, log.segments)?;
    let help = "Full write-ahead logs that wait to become segments";
    page.gauge("runcast_log_wals_waiting", help, log.wals_waiting)?;
    page.gauge("runcast_log_streams", "Streams in the log", log.streams)?;
    let help = "Streams that changed since write-ahead logs last became segments";
    page.gauge("runcast_log_streams_changed", help, log.streams_changed)?;
    page.gauge("runcast_log_events", "Events in the log", log.events)?;
    let help = "Memory that the log's index takes, about";
    page.gauge("runcast_log_index_bytes", help, log.index_bytes)?;
    let help = "Requests that wait for the log's writer";
    page.gauge("runcast_log_requests_waiting", help, log.requests_waiting)?;
    let help = "Bytes of events that were appended, as they came";
    page.counter("runcast_log_appended_bytes", help, log.written.events)?;
    let BytesWritten { wal, seal, merge, .. } = log.written;
    let written = [("wal", wal), ("seal", seal), ("merge", merge)];
    let help = "Bytes that the log wrote to its files, by what for";
    page.counters("runcast_log_written_bytes", help, "kind", &written)?;
    let help = "Seals and merges that did not work and were tried again";
    page.counter("runcast_log_upkeep_failures", help, log.upkeep_failures)?;
    let help = "Bytes of segments that were looked over for damage";
    page.counter("runcast_log_scrubbed_bytes", help, log.scrubbed_bytes)?;
    let help = "Places in segments that were found damaged";
    page.counter("runcast_log_damaged_places", help, log.damaged_places)?;
    let help = "Appends and deletions made durable by one write";
    page.counts("runcast_log_group_changes", help, &log.group_changes)?;
    page.times("runcast_log_sync_seconds", "How long the disk took to sync", &log.sync_ns)
}

fn process(page: &mut Page<'_>) -> fmt::Result {
    let mut cpu = page.begin(
        "process_cpu_seconds",
        "CPU time of the server, user and system",
        MetricType::Counter,
    )?;
    cpu.encode_counter::<NoLabelSet, _, f64>(&process::cpu_seconds(), None)?;
    let memory = process::resident_bytes().unwrap_or(0);
    page.gauge("process_resident_memory_bytes", "Memory of the server", memory)?;
    let files = process::open_files().unwrap_or(0);
    page.gauge("process_open_fds", "Open files and sockets of the server", files)?;
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    page.begin("runcast_build", "Which build this is", MetricType::Info)?.encode_info(&version)
}

const fn gap_name(reason: GapReason) -> &'static str {
    match reason {
        GapReason::Trimmed => "trimmed",
        GapReason::EpochChanged => "epoch_changed",
        GapReason::Damaged => "damaged",
    }
}

fn counter(metric: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    metric.encode_counter::<NoLabelSet, _, f64>(&value, None)
}

/// The page as it is written.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn begin<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        metric_type: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, None, metric_type)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        counter(&mut self.begin(name, help, MetricType::Counter)?, value)
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, u64)],
    ) -> fmt::Result {
        let mut family = self.begin(name, help, MetricType::Counter)?;
        for (of, value) in values {
            counter(&mut family.encode_family(&[(label, *of)])?, *value)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.begin(name, help, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: &[(&str, u64)],
    ) -> fmt::Result {
        let mut family = self.begin(name, help, MetricType::Gauge)?;
        for (of, value) in values {
            family.encode_family(&[(label, *of)])?.encode_gauge(value)?;
        }
        Ok(())
    }

    /// A histogram of times that are kept in nanoseconds.
    fn times(&mut self, name: &str, help: &str, spread: &Spread) -> fmt::Result {
        self.histogram(name, help, spread, 1e9)
    }

    fn counts(&mut self, name: &str, help: &str, spread: &Spread) -> fmt::Result {
        self.histogram(name, help, spread, 1.0)
    }

    fn histogram(&mut self, name: &str, help: &str, spread: &Spread, unit: f64) -> fmt::Result {
        let bounds = spread.bounds.iter().map(|bound| *bound as f64 / unit);
        let classes = bounds.chain([f64::INFINITY]);
        let counts = spread.counts.iter().copied().chain(std::iter::repeat(0));
        let buckets: Vec<_> = classes.zip(counts).collect();
        let mut metric = self.begin(name, help, MetricType::Histogram)?;
        let sum = spread.sum as f64 / unit;
        metric.encode_histogram::<NoLabelSet>(sum, spread.count(), &buckets, None)
    }
}
