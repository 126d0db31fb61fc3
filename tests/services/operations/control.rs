//! Operators change nodes, only with the token, and every act is kept.

use serde_json::{Value, json};

use super::api::conforms;
use super::*;

const TOKEN: &str = "correct-horse-battery";

/// Posts a body with these lines in the head.
async fn post(address: SocketAddr, path: &str, lines: &str, body: &str) -> Said {
    // What `ask` adds is behind the body, and not read.
    let lines = format!("{lines}content-length: {}\r\n\r\n{body}", body.len());
    ask(address, &format!("POST {path}"), &lines).await
}

async fn ordered(address: SocketAddr, path: &str) -> (u16, Value) {
    let lines = format!("host: localhost\r\nauthorization: Bearer {TOKEN}\r\n");
    let said = post(address, path, &lines, "").await;
    (said.status, serde_json::from_str(&said.body).expect("JSON"))
}

async fn read(address: SocketAddr, path: &str) -> Value {
    serde_json::from_str(&get(address, path).await.body).expect("JSON")
}

#[actix_web::test]
async fn a_drain_is_ordered_once_and_accounted_for() {
    let (running, address) = start(&design(&format!("token = {TOKEN:?}"))).await;
    assert_eq!(post(address, "/api/drain", "host: localhost\r\n", "").await.status, 401);
    let (status, done) = ordered(address, "/api/drain").await;
    assert_eq!(
        (status, &done),
        (200, &json!({ "node": "works", "act": "drain", "changed": true }))
    );
    assert_eq!(get(address, "/health/ready").await.status, 503);
    assert_eq!(read(address, "/api/audit").await["acts"][0]["act"], "drain");
    assert!(running.drain(None).await.balances());
    assert!(running.close_by("a test").is_err());
}

#[actix_web::test]
async fn a_paused_node_is_told_everywhere_until_it_is_resumed() {
    let (running, address) = start(&design(&format!("token = {TOKEN:?}"))).await;
    let (status, done) = ordered(address, "/api/nodes/haul/pause").await;
    assert_eq!(
        (status, &done["changed"], &done["status"]["state"]),
        (200, &json!(true), &json!("paused"))
    );
    let document = gopherworks::web::openapi();
    let said = &document["paths"]["/api/nodes/{node}/pause"]["post"]["responses"];
    conforms(&document, &said["200"]["content"]["application/json"]["schema"], &done);
    let offered = running.offer_watched("inbox", vec![Book::default()]).await.expect("room");
    let ready = get(address, "/health/ready").await;
    assert_eq!(ready.status, 200);
    assert!(ready.body.starts_with("ready\nhaul: paused by 127.0.0.1:"), "{}", ready.body);
    let metric = r#"gopherworks_node_paused{topology="works",node="haul",kind="crew"} 1.0"#;
    assert!(get(address, "/metrics").await.body.contains(metric));
    let drawing = read(address, "/api/topology").await;
    assert_eq!(
        (&drawing["paused"][0]["node"], &drawing["control"]),
        (&json!("haul"), &json!("token"))
    );
    assert_eq!(read(address, "/snapshot").await["paused"], json!(["haul"]));
    let node = read(address, "/api/nodes/haul").await;
    assert_eq!((&node["held"], &node["events"][0]["kind"]), (&json!(true), &json!("paused")));
    let by = node["events"][0]["text"].as_str().expect("a text");
    assert!(by.starts_with("by 127.0.0.1:"), "{by}");
    assert_eq!(running.snapshot().ledger.burned, 0);

    assert_eq!(ordered(address, "/api/nodes/haul/pause").await.1["changed"], json!(false));
    assert_eq!(ordered(address, "/api/nodes/haul/resume").await.0, 200);
    for book in offered {
        assert!(book.await.is_some());
    }
    assert_eq!(get(address, "/health/ready").await.body, "ready\n");
    let (status, done) = ordered(address, "/api/nodes/haul/kill").await;
    assert_eq!((status, &done["node"]), (200, &json!("haul/1")));
    while running.snapshot().restarts == 0 {
        tokio::task::yield_now().await;
    }
    burned(&running, 3).await;

    let audit = read(address, "/api/audit?limit=3").await;
    assert_eq!(audit["total"], 4);
    let acts = audit["acts"].as_array().expect("acts").iter();
    let acts: Vec<_> = acts.map(|act| (act["number"].as_u64(), act["act"].as_str())).collect();
    assert_eq!(
        acts,
        [(Some(4), Some("kill")), (Some(3), Some("resume")), (Some(2), Some("pause"))]
    );
    assert!(audit["acts"][0]["date"].as_str().is_some_and(|date| date.ends_with('Z')));
    running.stop().await;
}

#[actix_web::test]
async fn without_the_token_nothing_is_changed() {
    let (closed, address) = start(&design("")).await;
    let said = post(address, "/api/nodes/haul/pause", "host: localhost\r\n", "").await;
    assert_eq!(said.status, 403);
    assert!(said.body.contains("read-only; set `token` in `[operations]`"), "{}", said.body);
    assert_eq!(read(address, "/api/topology").await["control"], json!("off"));
    closed.stop().await;

    let (running, address) = start(&design(&format!("token = {TOKEN:?}"))).await;
    let right = format!("authorization: Bearer {TOKEN}\r\n");
    let at = |host: &str, more: &str| format!("host: {host}\r\n{more}");
    let long = "x".repeat(5000);
    for (path, lines, body, wanted, text) in [
        ("haul/pause", at("localhost", ""), "", 401, "send the token"),
        ("haul/pause", at("localhost", "authorization: Bearer x\r\n"), "", 401, "send the token"),
        (
            "haul/pause",
            at("localhost", &format!("authorization: Bearer {TOKEN}x\r\n")),
            "",
            401,
            "",
        ),
        ("haul/pause", at("evil.example", &right), "", 421, ""),
        (
            "haul/pause",
            at("localhost", &format!("origin: http://evil.example\r\n{right}")),
            "",
            403,
            "",
        ),
        ("haul/pause", at("localhost", &right), "{\"a\": 1}", 400, "unknown field `a`"),
        ("haul/pause", at("localhost", &right), &long, 413, "at most 4096 bytes"),
        ("hual/pause", at("localhost", &right), "", 404, "did you mean `haul`?"),
        ("haul%2F1/pause", at("localhost", &right), "{}", 409, "pause its crew `haul`"),
        ("haul/stop", at("localhost", &right), "", 405, ""),
        ("haul/pause?no=1", at("localhost", &right), "", 400, ""),
    ] {
        let said = post(address, &format!("/api/nodes/{path}"), &lines, body).await;
        assert_eq!(said.status, wanted, "{path} {lines}: {}", said.body);
        assert!(said.body.contains(text), "{path} {lines}: {}", said.body);
        assert!(!said.body.contains(TOKEN), "{}", said.body);
    }
    // Only what had the token was an act.
    assert_eq!(read(address, "/api/audit").await["total"], 2);
    assert!(running.paused().is_empty());
    assert_eq!(get(address, "/api/nodes/haul/pause").await.status, 404);
    running.stop().await;
}
