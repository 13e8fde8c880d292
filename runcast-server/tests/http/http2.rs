//! The same server over HTTP/2.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::client::{TestServer, frames, patiently};

#[tokio::test]
async fn a_run_is_written_and_followed_over_one_http2_connection() {
    let server = TestServer::start().await;
    let stream = server.connect().await.stream;
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let target = format!("http://{}/v1/runs/r/events", server.address);
    let follow = Request::get(&target).header("accept", "text/event-stream");
    let follow = follow.body(Full::new(Bytes::new())).unwrap();
    let follower = patiently(sender.send_request(follow)).await.unwrap();
    assert_eq!(follower.status(), StatusCode::OK);

    let events = r#"[{"type":"a.b"},{"type":"run.completed"}]"#;
    let append = Request::post(&target).header("content-type", "application/json");
    let append = append.body(Full::from(events)).unwrap();
    let appended = patiently(sender.send_request(append)).await.unwrap();
    assert_eq!(appended.status(), StatusCode::OK);

    let wire = patiently(follower.into_body().collect()).await.unwrap().to_bytes();
    let ids: Vec<_> =
        frames(std::str::from_utf8(&wire).unwrap()).into_iter().map(|f| f.0).collect();
    assert_eq!(ids, ["1", "2", ""]);

    let page = server.get("/metrics").await;
    for counted in [
        "runcast_delivered_events_total{transport=\"sse\"} 2",
        "runcast_connections_opened_total{transport=\"sse\"} 1",
        "runcast_sent_bytes_total{transport=\"sse\"} 0",
    ] {
        assert!(page.text().contains(counted), "{counted}");
    }

    let evil = Request::get("http://evil.example.com/v1/runs").body(Full::new(Bytes::new()));
    let refused = patiently(sender.send_request(evil.unwrap())).await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
}
