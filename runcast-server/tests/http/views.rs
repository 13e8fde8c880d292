//! Readers that choose events, and readers that want deltas merged.

use serde_json::{Value, json};

use crate::client::TestServer;

/// A run with steps, two messages and an end: 1 to 9.
async fn served() -> TestServer {
    let server = TestServer::start().await;
    let delta = |message: &str, text: &str| json!({"type": "message.delta", "step": "write", "data": {"message": message, "text": text}});
    let events = json!([
        {"type": "run.started", "data": {"workflow": "w"}},
        {"type": "step.started", "step": "fetch \"it\"", "stage": 2},
        {"type": "log", "data": {"level": "info", "message": "x"}},
        delta("a", "Hel"), delta("a", "lo\n"), delta("b", "!"), delta("b", "!"),
        {"type": "step.completed", "step": "fetch \"it\"", "stage": 2},
        {"type": "run.completed"},
    ]);
    server.post("/v1/runs/r/events", &events.to_string()).await;
    server
}

/// What a page has of its events: offset and type.
fn told(page: &Value) -> Vec<(u64, String)> {
    let events = page["events"].as_array().unwrap().iter();
    let told = |event: &Value| {
        (event["offset"].as_u64().unwrap(), event["type"].as_str().unwrap().to_owned())
    };
    events.map(told).collect()
}

#[tokio::test]
async fn a_page_has_the_events_that_were_chosen_and_its_cursor_moves_past_the_others() {
    let server = served().await;
    for (query, offsets) in [
        ("type=step.*", &[2, 8][..]),
        ("type=step.started&type=log", &[2, 3]),
        ("step=fetch%20%22it%22&stage=2&type=step.completed", &[8]),
        ("channel=logs&channel=control", &[3]),
        ("agent=nobody", &[]),
        ("type=*", &[1, 2, 3, 4, 5, 6, 7, 8, 9]),
    ] {
        let page = server.get(&format!("/v1/runs/r/events?{query}")).await.json();
        let seen: Vec<_> = told(&page).into_iter().map(|(offset, _)| offset).collect();
        assert_eq!(seen, offsets, "{query}");
        assert_eq!(page["next"], "9", "{query}");
    }
    let first = server.get("/v1/runs/r/events?type=step.*&limit=1").await.json();
    assert_eq!((told(&first).len(), &first["next"]), (1, &json!("2")));
}

#[tokio::test]
async fn a_follower_gets_the_events_that_it_chose_and_ends_at_the_tail() {
    let server = served().await;
    let mut follower = server.follow("/v1/runs/r/events?type=log").await;
    let wire = String::from_utf8(follower.rest().await).unwrap();
    let frames: Vec<_> = wire.trim_end().split("\n\n").skip(1).collect();
    assert!(frames[0].starts_with("id: 3\ndata: {\"offset\":3,\"type\":\"log\""), "{wire}");
    // The cursor moves to the tail, so that a browser comes back to a 204 and stops asking.
    assert_eq!(frames[1], "id: 9");
    assert!(frames[2].starts_with("event: end\n"), "{wire}");
    assert_eq!(frames.len(), 3);
    let again = [("Accept", "text/event-stream"), ("Last-Event-ID", "9")];
    let mut again = server.open("GET", "/v1/runs/r/events?type=log", &again).await;
    assert_eq!(again.head().await.status, 204);
}

#[tokio::test]
async fn adjacent_deltas_are_one_event_with_the_newest_offset_on_every_transport() {
    let server = served().await;
    let page = server.get("/v1/runs/r/events?coalesce=1&type=message.delta").await.json();
    assert_eq!(told(&page).iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [5, 7]);
    assert_eq!(page["events"][0]["data"]["text"], "Hello\n");
    assert_eq!(page["events"][0]["merged"], 2);

    let mut follower = server.follow("/v1/runs/r/events?coalesce=1&after=4").await;
    let wire = String::from_utf8(follower.rest().await).unwrap();
    let ids: Vec<_> = wire.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(ids[..4], ["5", "7", "8", "9"], "a resume in the middle gets the rest");

    let lines = [("Accept", "application/x-ndjson")];
    let mut export = server.open("GET", "/v1/runs/r/events?coalesce=1&step=write", &lines).await;
    assert_eq!(export.head().await.status, 200);
    let lines = String::from_utf8(export.rest().await).unwrap();
    assert_eq!(lines.matches("\"merged\":2").count(), 2, "{lines}");
}

#[tokio::test]
async fn a_choice_that_cannot_be_is_refused_by_name() {
    let server = served().await;
    for (query, parameter) in [
        ("type=a%20b", "type"),
        ("step=", "step"),
        ("colour=red", "colour"),
        ("coalesce=maybe", "coalesce"),
    ] {
        let refused = server.get(&format!("/v1/runs/r/events?{query}")).await;
        assert_eq!((refused.status, &refused.json()["parameter"]), (400, &json!(parameter)));
    }
    let many: String = (0..65).map(|n| format!("&step=s{n}")).collect();
    assert_eq!(server.get(&format!("/v1/runs/r/events?after=0{many}")).await.status, 400);
}
