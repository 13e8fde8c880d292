//! Run states that are saved: a server that starts again has them.

use std::path::Path;

use runcast_hub::HubConfig;
use runcast_log::EmbeddedOptions;
use runcast_server::{HttpConfig, ServerConfig, Store, start};

use crate::client::TestServer;

async fn on(directory: &Path) -> TestServer {
    let config = ServerConfig {
        store: Store::Directory {
            path: directory.to_path_buf(),
            options: EmbeddedOptions::default(),
        },
        hub: HubConfig::default(),
        http: HttpConfig { listen: "127.0.0.1:0".parse().unwrap(), ..HttpConfig::default() },
    };
    TestServer::running(start(config).await.unwrap())
}

async fn stop(mut server: TestServer) {
    server.begin_to_stop();
    server.stopped().await;
}

#[tokio::test]
async fn a_server_that_starts_again_has_the_states_it_saved_and_what_came_since() {
    let directory = tempfile::tempdir().unwrap();
    let server = on(directory.path()).await;
    let line = r#"{"type":"run.started","data":{"workflow":"w"}}"#;
    let runs: Vec<_> = (0..1_200).map(|number| format!("/v1/runs/r{number}/events")).collect();
    futures_util::future::join_all(runs.iter().map(|run| server.post(run, line))).await;
    let counts = server.get("/v1/runs?limit=1&counts=1").await.json()["counts"].clone();
    assert_eq!(counts["running"], 1_200);
    stop(server).await;
    let file = directory.path().join("states.saved");
    let saved = std::fs::metadata(&file).unwrap().modified().unwrap();

    let server = on(directory.path()).await;
    assert_eq!(server.get("/v1/runs?limit=1&counts=1").await.json()["counts"], counts);
    server.post("/v1/runs/r7/events", r#"{"type":"run.completed"}"#).await;
    server.send("DELETE", "/v1/runs/r8", &[], b"").await;
    server.post("/v1/runs/new/events", line).await;
    stop(server).await;
    assert_eq!(std::fs::metadata(&file).unwrap().modified().unwrap(), saved, "little has changed");

    let server = on(directory.path()).await;
    let counts = server.get("/v1/runs?limit=1&counts=1").await.json()["counts"].clone();
    assert_eq!((&counts["running"], &counts["completed"]), (&1_199.into(), &1.into()));
    assert_eq!(server.get("/v1/runs/r7").await.json()["status"], "completed");
    server.get("/v1/runs/r8").await.problem(410, "run_deleted");
}
