//! What `/metrics` says, before and after things happen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use runcast_hub::HubConfig;
use yaml_rust2::{Yaml, YamlLoader};

use crate::client::{Connection, TestServer};
use crate::logged::Logged;
use crate::store;

const ONE: &str = r#"{"type":"output","data":{"text":"x"}}"#;
const END: &str = r#"{"type":"run.completed","data":{"exit_code":0}}"#;
const LIVE: (&str, &str) = ("Accept", "text/event-stream");

/// A page of metrics: each sample by its name and labels.
struct Figures {
    samples: BTreeMap<String, f64>,
    /// The type of each metric, under the name that its samples have.
    types: BTreeMap<String, String>,
}

impl Figures {
    async fn of(server: &TestServer) -> Self {
        let reply = server.get("/metrics").await;
        assert_eq!(reply.status, 200);
        let media_type = reply.header("content-type").unwrap();
        assert!(media_type.starts_with("application/openmetrics-text; version=1.0.0"));
        let text = reply.text();
        assert!(text.ends_with("# EOF\n"));
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(|line| {
            let (name, metric_type) = line.split_once(' ').unwrap();
            let suffix = match metric_type {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            (format!("{name}{suffix}"), metric_type.to_owned())
        });
        Self { samples: samples.collect(), types: types.collect() }
    }

    #[track_caller]
    fn get(&self, name: &str) -> f64 {
        *self.samples.get(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// The names that a query can have.
    fn names(&self) -> BTreeSet<String> {
        self.samples.keys().map(|name| name.split('{').next().unwrap().to_owned()).collect()
    }

    /// The labels that a metric's samples have.
    fn labels(&self, metric: &str) -> BTreeSet<String> {
        let of_it = self.samples.keys().filter_map(|name| name.strip_prefix(metric));
        let labels = of_it.filter_map(|rest| rest.strip_prefix('{')?.strip_suffix('}'));
        let names = labels.flat_map(|labels| labels.split(',')).map(|label| {
            let (name, _) = label.split_once('=').unwrap();
            name.to_owned()
        });
        names.collect()
    }
}

/// Waits until the page says this.
async fn until(server: &TestServer, name: &str, value: f64) -> Figures {
    loop {
        let figures = Figures::of(server).await;
        if figures.get(name) == value {
            return figures;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn appends_are_counted_by_what_became_of_them() {
    let server = TestServer::start().await;
    let before = Figures::of(&server).await;
    for name in ["requests", "batches", "events", "duplicates", "bytes"] {
        assert_eq!(before.get(&format!("runcast_append_{name}_total")), 0.0);
    }
    let producer = [
        ("Content-Type", "application/json"),
        ("Producer-Id", "p"),
        ("Producer-Epoch", "0"),
        ("Producer-Seq", "0"),
    ];
    for _ in 0..2 {
        let body = format!("[{ONE},{ONE}]");
        let reply = server.send("POST", "/v1/runs/r/events", &producer, body.as_bytes()).await;
        assert_eq!(reply.status, 200);
    }
    server.lines("/v1/runs/r/events", &format!("{ONE}\n{ONE}\n{ONE}\n")).await;
    let after = Figures::of(&server).await;
    assert_eq!(after.get("runcast_append_requests_total"), 3.0);
    assert_eq!(after.get("runcast_append_events_total"), 5.0);
    assert_eq!(after.get("runcast_append_duplicates_total"), 2.0);
    assert!(after.get("runcast_append_bytes_total") > 7.0 * ONE.len() as f64);
    let batches = after.get("runcast_append_batches_total");
    assert!((3.0..=5.0).contains(&batches));
    assert_eq!(after.get("runcast_append_seconds_count"), batches);
    assert_eq!(after.get(r#"runcast_append_seconds_bucket{le="+Inf"}"#), batches);
    assert!(after.get("runcast_append_seconds_sum") > 0.0);
    if store::knows_its_size() {
        assert_eq!(after.get("runcast_log_events"), 5.0);
        assert_eq!(after.get("runcast_log_streams"), 1.0);
    }
}

#[tokio::test]
async fn a_refused_append_is_counted_by_its_code_once() {
    let server = TestServer::start().await;
    server
        .post("/v1/runs/r/events", r#"{"type":"Not A Type"}"#)
        .await
        .problem(400, "invalid_event");
    server.post("/v1/runs/a%20b/events", ONE).await.problem(400, "invalid_run_id");
    server.lines("/v1/runs/r/events", "nonsense\n").await.problem(400, "invalid_event");
    // Refused after a part of it was acknowledged.
    let headers = [("Content-Type", "application/x-ndjson"), ("Transfer-Encoding", "chunked")];
    let mut connection = server.open("POST", "/v1/runs/r/events", &headers).await;
    connection.write_chunk(&format!("{END}\n")).await;
    connection.head().await;
    connection.until("\n").await;
    connection.write_chunk(&format!("{ONE}\n")).await;
    connection.until("}\n").await;
    let figures = Figures::of(&server).await;
    let refusals = |code: &str| {
        figures.get(&format!(r#"runcast_append_refusals_total{{code="{code}"}}"#)) as u32
    };
    assert_eq!(refusals("invalid_event"), 2);
    assert_eq!(refusals("invalid_run_id"), 1);
    assert_eq!(refusals("run_ended"), 1);
    assert_eq!(refusals("no_room"), 0);
    assert_eq!(figures.get("runcast_append_requests_total"), 4.0);
    assert_eq!(figures.get("runcast_append_events_total"), 1.0);
}

#[tokio::test]
async fn viewers_and_what_they_get_are_counted() {
    let server = TestServer::start().await;
    let open = r#"runcast_connections{transport="sse"}"#;
    assert_eq!(Figures::of(&server).await.get(open), 0.0);
    let mut viewer = server.follow("/v1/runs/r/events").await;
    server.post("/v1/runs/r/events", &format!("[{ONE},{ONE}]")).await;
    viewer.until("\"x\"}}\n\n").await;
    let figures = until(&server, r#"runcast_delivered_events_total{transport="sse"}"#, 2.0).await;
    let frames = r#"runcast_delivered_frames_total{transport="sse"}"#;
    assert_eq!(figures.get(frames), 1.0, "they came together");
    assert_eq!(figures.get(open), 1.0);
    assert_eq!(figures.get("runcast_followers"), 1.0);
    assert_eq!(figures.get("runcast_tails"), 1.0);
    assert_eq!(figures.get("runcast_delivery_seconds_count"), 1.0);
    assert!(figures.get("runcast_delivery_seconds_sum") < 20.0);
    assert!(figures.get(r#"runcast_sent_bytes_total{transport="sse"}"#) > 200.0);
    assert!(figures.get(r#"runcast_sent_bytes_total{transport="http"}"#) > 1000.0);
    drop(viewer);
    let figures = until(&server, open, 0.0).await;
    assert_eq!(figures.get(r#"runcast_connections_opened_total{transport="sse"}"#), 1.0);
    assert_eq!(figures.get(r#"runcast_resumes_total{transport="sse"}"#), 0.0);
}

#[tokio::test]
async fn a_reader_who_comes_back_is_a_resume_and_what_it_missed_a_catch_up() {
    let server = TestServer::start().await;
    server.post("/v1/runs/r/events", &format!("[{ONE},{ONE},{ONE},{ONE},{END}]")).await;
    let mut viewer = server.follow("/v1/runs/r/events?after=2").await;
    viewer.rest().await;
    let figures = Figures::of(&server).await;
    assert_eq!(figures.get(r#"runcast_resumes_total{transport="sse"}"#), 1.0);
    assert_eq!(figures.get("runcast_catch_up_events_count"), 1.0);
    assert_eq!(figures.get("runcast_catch_up_events_sum"), 3.0);
    assert_eq!(figures.get(r#"runcast_delivered_events_total{transport="sse"}"#), 3.0);
    assert_eq!(figures.get("runcast_delivery_seconds_count"), 0.0, "nothing of it was late");
    server.get("/v1/runs/r/events").await;
    let figures = Figures::of(&server).await;
    assert_eq!(figures.get(r#"runcast_delivered_events_total{transport="http"}"#), 5.0);
}

#[tokio::test]
async fn viewers_of_the_feed_and_of_many_runs_are_counted_like_others() {
    let server = TestServer::start().await;
    server.post("/v1/runs", r#"{"id":"a"}"#).await;
    let mut feed = server.follow("/v1/feed").await;
    feed.until("}\n\n").await;
    let mut many = server.follow("/v1/streams?run=a&run=b").await;
    many.until("}\n\n").await;
    let figures = Figures::of(&server).await;
    assert_eq!(figures.get(r#"runcast_connections{transport="sse"}"#), 2.0);
    assert_eq!(figures.get(r#"runcast_delivered_events_total{transport="sse"}"#), 2.0);
    if store::knows_its_size() {
        assert_eq!(figures.get("runcast_log_streams"), 1.0, "the feed is not a run");
    }
}

#[tokio::test]
async fn gaps_are_counted_by_their_reason_on_every_way_to_read() {
    let server = TestServer::start().await;
    server.post("/v1/runs/r/events", &format!("[{ONE},{ONE}]")).await;
    server.send("DELETE", "/v1/runs/r", &[], b"").await;
    server.post("/v1/runs/r/events", END).await;
    let lines = ("Accept", "application/x-ndjson");
    for accept in [LIVE, lines, ("Accept", "application/json")] {
        let reply = server.send("GET", "/v1/runs/r/events?after=2", &[accept], b"").await;
        assert!(reply.text().contains("epoch_changed"), "{}", reply.text());
    }
    let figures = Figures::of(&server).await;
    assert_eq!(figures.get(r#"runcast_gaps_total{reason="epoch_changed"}"#), 3.0);
    assert_eq!(figures.get(r#"runcast_gaps_total{reason="trimmed"}"#), 0.0);
}

#[tokio::test]
async fn runs_are_counted_by_their_status() {
    let server = TestServer::start().await;
    for run in ["a", "b", "c"] {
        server.post(&format!("/v1/runs/{run}/events"), r#"{"type":"run.started"}"#).await;
    }
    server.post("/v1/runs/a/events", END).await;
    server.send("DELETE", "/v1/runs/b", &[], b"").await;
    let figures = until(&server, "runcast_projection_backlog_runs", 0.0).await;
    assert_eq!(figures.get(r#"runcast_runs{status="completed"}"#), 1.0);
    assert_eq!(figures.get(r#"runcast_runs{status="running"}"#), 1.0);
    assert_eq!(figures.get(r#"runcast_runs{status="queued"}"#), 0.0);
}

#[tokio::test]
async fn the_process_and_the_logs_health_are_told() {
    let server = TestServer::start().await;
    let figures = Figures::of(&server).await;
    assert!(figures.get("process_cpu_seconds_total") > 0.0);
    assert_eq!(figures.get(r#"runcast_log_health{state="healthy"}"#), 1.0);
    assert_eq!(figures.get(r#"runcast_log_health{state="full"}"#), 0.0);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(figures.get(&format!(r#"runcast_build_info{{version="{version}"}}"#)), 1.0);
}

/// A viewer that takes nothing, and more events than its socket holds.
async fn overwhelm(server: &TestServer) -> Connection {
    let stuck = server.follow("/v1/runs/stuck/events").await;
    let event = format!(r#"{{"type":"output","data":{{"text":"{}"}}}}"#, "x".repeat(200 << 10));
    let batch = format!("[{}]", vec![event; 15].join(","));
    while server.hub.followers() > 0 {
        assert_eq!(server.post("/v1/runs/stuck/events", &batch).await.status, 200);
    }
    stuck
}

#[tokio::test]
async fn a_viewer_that_takes_nothing_is_disconnected_counted_and_named_in_the_log() {
    let logged = Logged::begin();
    let server = TestServer::start_with(
        |config| config.limits.write_stall_timeout = Duration::from_millis(100),
        HubConfig::default(),
    )
    .await;
    let _stuck = overwhelm(&server).await;
    let figures = Figures::of(&server).await;
    let evicted = r#"runcast_evictions_total{transport="sse",reason="stalled"}"#;
    assert_eq!(figures.get(evicted), 1.0);
    assert_eq!(figures.get(r#"runcast_failed_deliveries_total{transport="sse"}"#), 1.0);
    assert!(figures.get(r#"runcast_stalls_total{transport="sse"}"#) >= 1.0);
    assert_eq!(figures.get(r#"runcast_connections{transport="sse"}"#), 0.0);
    let line = logged.lines(&["a viewer took nothing", "stuck"]).remove(0);
    assert!(line.contains("runs=1 cursors=\"stuck:"), "{line}");
    assert!(line.contains(" seconds="), "{line}");
}

#[tokio::test]
async fn a_viewer_that_breaks_off_while_it_has_something_to_take_is_a_failed_delivery() {
    let server = TestServer::start().await;
    let event = format!(r#"{{"type":"output","data":{{"text":"{}"}}}}"#, "x".repeat(200 << 10));
    let batch = format!("[{}]", vec![event; 15].join(","));
    for (number, target) in ["/v1/runs/r/events", "/v1/streams?run=r"].into_iter().enumerate() {
        let stalls = r#"runcast_stalls_total{transport="sse"}"#;
        let before = Figures::of(&server).await.get(stalls);
        let stuck = server.follow(target).await;
        while Figures::of(&server).await.get(stalls) == before {
            assert_eq!(server.post("/v1/runs/r/events", &batch).await.status, 200);
        }
        socket2::SockRef::from(&stuck.stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stuck);
        let evicted = r#"runcast_evictions_total{transport="sse",reason="write_failed"}"#;
        let figures = until(&server, evicted, number as f64 + 1.0).await;
        let failed = r#"runcast_failed_deliveries_total{transport="sse"}"#;
        assert_eq!(figures.get(failed), number as f64 + 1.0);
    }
}

#[tokio::test]
async fn events_that_a_filter_leaves_out_count_as_delivered() {
    let server = TestServer::start().await;
    for (target, events) in
        [("/v1/runs/r/events?type=x.y", 2.0), ("/v1/streams?run=r&type=x.y", 6.0)]
    {
        let mut viewer = server.follow(target).await;
        viewer.until("\n\n").await;
        server.post("/v1/runs/r/events", &format!("[{ONE},{ONE}]")).await;
        let delivered = r#"runcast_delivered_events_total{transport="sse"}"#;
        let figures = until(&server, delivered, events).await;
        assert_eq!(figures.get(r#"runcast_delivered_frames_total{transport="sse"}"#), 0.0);
    }
}

#[tokio::test]
async fn every_metric_is_in_the_documentation_with_its_type_and_labels() {
    let server = TestServer::start().await;
    let figures = Figures::of(&server).await;
    let documentation = include_str!("../../../docs/metrics.md");
    let (_, tables) = documentation.split_once("## All of them").unwrap();
    let rows = tables.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
            let [metric, metric_type, labels, meaning] = cells[..] else { panic!("{row}") };
            assert!(!meaning.is_empty());
            let metric = metric.trim_matches('`').to_owned();
            let labels = labels.split(", ").map(|label| label.trim_matches('`').to_owned());
            let labels: BTreeSet<_> = labels.filter(|label| !label.is_empty()).collect();
            (metric, (metric_type.to_owned(), labels))
        })
        .collect();
    let told: BTreeMap<_, _> = figures
        .types
        .iter()
        .map(|(metric, of)| (metric.clone(), (of.clone(), figures.labels(metric))))
        .collect();
    assert_eq!(documented, told);
}

/// The metrics that a query names.
fn metrics_in(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("runcast_") || word.starts_with("process_"))
}

#[tokio::test]
async fn every_query_of_the_documentation_the_alerts_and_the_dashboard_has_its_metrics() {
    let server = TestServer::start().await;
    let names = Figures::of(&server).await.names();
    let mut queries = Vec::new();
    let alerts = include_str!("../../../deploy/prometheus/alerts.yaml");
    let alerts = YamlLoader::load_from_str(alerts).unwrap();
    for group in alerts[0]["groups"].as_vec().unwrap() {
        assert!(group["name"].as_str().is_some());
        for rule in group["rules"].as_vec().unwrap() {
            let known = |key: &Yaml| {
                ["alert", "expr", "for", "labels", "annotations"].contains(&key.as_str().unwrap())
            };
            assert!(rule.as_hash().unwrap().keys().all(known), "{rule:?}");
            assert!(rule["alert"].as_str().unwrap().starts_with("Runcast"));
            assert!(rule["labels"]["severity"].as_str().is_some());
            assert!(rule["annotations"]["summary"].as_str().is_some());
            let query = rule["expr"].as_str().unwrap().to_owned();
            let of_ours = metrics_in(&query).count() > 0;
            assert!(of_ours || query.starts_with("up{"), "{query}");
            queries.push(query);
        }
    }
    let dashboard = include_str!("../../../deploy/grafana/runcast.json");
    let dashboard: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            assert!(metrics_in(query).count() > 0, "{query}");
            queries.push(query.to_owned());
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        queries.push(variable["query"].as_str().unwrap().to_owned());
    }
    let documentation = include_str!("../../../docs/metrics.md");
    let (questions, _) = documentation.split_once("## All of them").unwrap();
    queries.push(questions.to_owned());
    for query in &queries {
        let balanced = |open, close| query.matches(open).count() == query.matches(close).count();
        assert!(balanced('(', ')') && balanced('{', '}') && balanced('[', ']'), "{query}");
        for metric in metrics_in(query) {
            assert!(names.contains(metric), "{metric} in {query}");
        }
    }
}
