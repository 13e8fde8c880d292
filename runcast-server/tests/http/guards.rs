//! Who may use the server, and paths that are not calls.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::client::TestServer;

#[tokio::test]
async fn a_name_that_is_not_this_servers_is_refused() {
    let server = TestServer::start().await;
    let reply = server.send("GET", "/v1/runs", &[("Host", "rebound.example.com")], b"").await;
    reply.problem(403, "forbidden_host");
    let reply =
        server.send("GET", "http://evil.example.com/v1/runs", &[("Host", "localhost")], b"").await;
    reply.problem(403, "forbidden_host");
    let mut bare = server.connect().await;
    bare.write(b"GET /v1/runs HTTP/1.0\r\n\r\n").await;
    bare.reply().await.problem(403, "forbidden_host");
    assert_eq!(server.send("GET", "/v1/runs", &[("Host", "localhost")], b"").await.status, 200);
}

#[tokio::test]
async fn a_page_of_another_site_is_refused_and_an_allowed_one_may_read() {
    let server = TestServer::start_with(
        |config| config.allowed_origins = vec!["https://app.example.com".parse().unwrap()],
        Default::default(),
    )
    .await;
    let evil = [("Origin", "https://evil.example.com")];
    server.send("GET", "/v1/runs", &evil, b"").await.problem(403, "forbidden_origin");
    let reply = server.send("POST", "/v1/runs", &evil, b"").await;
    reply.problem(403, "forbidden_origin");
    assert_eq!(server.get("/v1/runs").await.json()["runs"], serde_json::json!([]));

    for origin in ["https://app.example.com", "http://localhost:5173"] {
        let reply = server.send("GET", "/v1/runs", &[("Origin", origin)], b"").await;
        assert_eq!(reply.header("access-control-allow-origin"), Some(origin));
        assert_eq!(reply.header("vary"), Some("Origin"));
        let refused = server.send("GET", "/v1/nothing", &[("Origin", origin)], b"").await;
        assert_eq!(refused.header("access-control-allow-origin"), Some(origin));
        let ask = [("Origin", origin), ("Access-Control-Request-Method", "DELETE")];
        let reply = server.send("OPTIONS", "/v1/runs/r", &ask, b"").await;
        assert_eq!(reply.status, 204);
        assert_eq!(reply.header("access-control-allow-origin"), Some(origin));
        assert!(reply.header("access-control-allow-methods").unwrap().contains("DELETE"));
    }
}

#[tokio::test]
async fn what_is_not_a_call_is_a_problem() {
    let server = TestServer::start().await;
    for target in
        ["/v1", "/v1/run", "/v1/runs/r/event", "/v1/runs/", "/nothing.js", "/assets/../x", "/%ff"]
    {
        server.get(target).await.problem(404, "not_found");
    }
    for (method, target) in [
        ("PUT", "/v1/runs"),
        ("PATCH", "/v1/runs/r"),
        ("DELETE", "/v1/runs/r/events"),
        ("POST", "/healthz"),
        ("OPTIONS", "/v1/runs"),
        ("POST", "/"),
    ] {
        let reply = server.send(method, target, &[], b"").await;
        reply.problem(405, "method_not_allowed");
        assert!(reply.header("allow").is_some(), "{method} {target}");
    }
}

#[tokio::test]
async fn the_server_says_how_it_is() {
    let server = TestServer::start().await;
    for target in ["/healthz", "/readyz"] {
        let reply = server.get(target).await;
        assert_eq!((reply.status, reply.text()), (200, r#"{"status":"ok"}"#));
    }
    server.hub.shut_down().await;
    assert_eq!(server.get("/healthz").await.status, 200);
    server.get("/readyz").await.problem(503, "log_unavailable");
    server.post("/v1/runs/r/events", r#"{"type":"a.b"}"#).await.problem(503, "log_unavailable");
    server.lines("/v1/runs/r/events", r#"{"type":"a.b"}"#).await.problem(503, "log_unavailable");
}

#[tokio::test]
async fn every_call_of_the_documentation_is_described_and_answered() {
    let server = TestServer::start().await;
    let description = server.get("/openapi.json").await.json();
    let mut described = BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.insert(format!("{} {path}", method.to_uppercase()));
            let target = path.replace("{run}", "none");
            let reply = server.send(&method.to_uppercase(), &target, &[], b"").await;
            let code =
                serde_json::from_slice::<Value>(&reply.body).unwrap_or_default()["code"].clone();
            assert!(code != "not_found" && code != "method_not_allowed", "{method} {path}: {code}");
        }
    }
    let documentation = include_str!("../../../docs/http-api.md");
    let documented = documentation.split('`').filter_map(|code| {
        let (method, target) = code.split_once(' ')?;
        let is_call = matches!(method, "GET" | "POST" | "DELETE") && target.starts_with('/');
        is_call.then(|| format!("{method} {}", target.split('?').next().unwrap()))
    });
    let mut documented: BTreeSet<_> = documented.collect();
    // The operation's paragraph names these without the method.
    documented.extend(["GET /readyz".to_owned(), "GET /openapi.json".to_owned()]);
    assert_eq!(described, documented);
}

#[tokio::test]
async fn real_answers_have_the_described_fields() {
    let server = TestServer::start().await;
    let description = server.get("/openapi.json").await.json();
    let check = |name: &str, answer: &Value| {
        let schema = &description["components"]["schemas"][name];
        let known = schema["properties"].as_object().unwrap_or_else(|| panic!("no schema {name}"));
        let answer = answer.as_object().unwrap();
        for field in answer.keys() {
            assert!(known.contains_key(field), "{name} has {field}, which is not described");
        }
        for field in schema["required"].as_array().into_iter().flatten() {
            assert!(answer.contains_key(field.as_str().unwrap()), "{name} lacks {field}");
        }
    };
    let body = serde_json::json!({"id": "r", "workflow": "w", "name": "n", "tags": ["t"], "stages": ["s"],
        "steps": ["s"], "variations": ["v"], "metadata": {}, "retention": {}, "deadline": "2030-01-01T00:00:00Z"});
    check("NewRun", &body);
    check("Run", &server.post("/v1/runs", &body.to_string()).await.json());
    let event =
        r#"{"type":"a.b","channel":"c","variation":"v","stage":1,"step":"s","agent":"a","data":1}"#;
    check("Appended", &server.post("/v1/runs/r/events", event).await.json());
    let page = server.get("/v1/runs/r/events?after=1").await.json();
    check("Page", &page);
    check("Event", &page["events"][0]);
    let list = server.get("/v1/runs").await.json();
    check("RunList", &list);
    check("RunSummary", &list["runs"][0]);
    check("EventCounts", &list["runs"][0]["events"]);
    check("Status", &server.get("/healthz").await.json());
    check("Problem", &server.get("/nothing").await.json());
}

#[tokio::test]
async fn the_web_ui_is_at_the_root_at_the_inbox_and_at_each_run() {
    let server = TestServer::start().await;
    for target in ["/", "/inbox", "/runs/some-run"] {
        let reply = server.get(target).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(reply.header("cache-control"), Some("no-cache"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert!(reply.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    }
}
