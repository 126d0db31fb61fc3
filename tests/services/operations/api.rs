//! The JSON API answers as its OpenAPI document says.

use gopherworks::diagram::{Copies, Format, Picture};
use gopherworks::web::openapi;
use serde_json::{Value, json};

use super::*;

const TOKEN: &str = "correct-horse-battery";

/// A design whose carts are under way for an hour, so that books stay where they are.
fn still() -> String {
    design(&format!("token = {TOKEN:?}")).replace(
        "gophers = [",
        "carts = { count = 1, books = 2 }\nsteps = { push = \"1h\" }\ngophers = [",
    )
}

async fn json_of(address: SocketAddr, path: &str) -> Value {
    let said = get(address, path).await;
    assert_eq!(said.status, 200, "{path}: {}", said.body);
    serde_json::from_str(&said.body).expect("JSON")
}

async fn trusted(address: SocketAddr, path: &str) -> Said {
    let lines = format!("host: localhost\r\nauthorization: Bearer {TOKEN}\r\n");
    ask(address, &format!("GET {path}"), &lines).await
}

/// Asserts that a value conforms to a schema of the document.
#[track_caller]
pub(super) fn conforms(document: &Value, schema: &Value, value: &Value) {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let wrong: Vec<String> = validator.iter_errors(value).map(|error| format!("{error}")).collect();
    assert_eq!(wrong, [""; 0], "{value}");
}

/// All paths of the document that are read, with names in place of parameters.
fn paths(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let named = |path: &String| path.replace("{node}", "haul/1").replace("{pile}", "inbox");
    let read = paths.iter().filter(|(_, said)| !said["get"].is_null());
    read.map(|(path, said)| (named(path), said["get"].clone())).collect()
}

#[actix_web::test]
async fn every_route_answers_as_the_document_says() {
    let (running, address) = start(&design("")).await;
    burned(&running, 3).await;
    let document = json_of(address, "/api/openapi.json").await;
    assert_eq!(document, openapi());
    let mut judged = 0;
    for (path, said) in paths(&document) {
        let (media, answer) = said["responses"]["200"]["content"]
            .as_object()
            .and_then(|content| content.iter().next())
            .expect("a media type");
        if media == "text/event-stream" {
            continue;
        }
        let got = get(address, &path).await;
        assert_eq!(got.status, 200, "{path}: {}", got.body);
        let kind = got.head.lines().find_map(|line| line.strip_prefix("content-type: "));
        assert_eq!(kind.unwrap_or("text/plain"), media, "{path}");
        if media == "application/json" {
            let value: Value = serde_json::from_str(&got.body).expect("JSON");
            conforms(&document, &answer["schema"], &value);
            judged += 1;
        }
        // Parameters that are not in the document are refused.
        if path.starts_with("/api/") && said["parameters"] != json!([]) {
            let refused = get(address, &format!("{path}?no_such_thing=1")).await;
            assert_eq!(refused.status, 400, "{path}");
            let value: Value = serde_json::from_str(&refused.body).expect("JSON");
            let schema = &said["responses"]["default"]["content"]["application/json"]["schema"];
            conforms(&document, schema, &value);
        }
    }
    assert!(judged >= 8, "{judged}");
    running.stop().await;
}

#[test]
fn the_page_lists_every_route() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let rows = page.lines().filter(|line| line.starts_with("| `/"));
    let listed: BTreeSet<&str> = rows
        .flat_map(|row| row.split(" | ").next().expect("a cell").split('`'))
        // The page for browsers is no part of the API.
        .filter(|word| word.starts_with('/') && *word != "/")
        .collect();
    let document = openapi();
    let known = document["paths"].as_object().expect("paths").keys();
    assert_eq!(listed, known.map(String::as_str).collect());
}

#[actix_web::test]
async fn no_route_answers_another_host_or_changes_anything() {
    let (running, address) = start(&design("")).await;
    for (path, _) in paths(&openapi()) {
        for (lines, wanted) in [
            ("host: evil.example\r\n", 421),
            ("host: localhost\r\norigin: http://evil.example\r\n", 403),
        ] {
            let said = ask(address, &format!("GET {path}"), lines).await;
            assert_eq!(said.status, wanted, "{path} {lines}");
        }
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let lines = "host: localhost\r\ncontent-length: 0\r\n";
            let said = ask(address, &format!("{method} {path}"), lines).await;
            assert_eq!(said.status, 405, "{method} {path}");
            for header in ["content-security-policy: default-src 'none'", "cache-control: no-store"]
            {
                let said = ask(address, &format!("HEAD {path}"), "host: evil.example\r\n").await;
                assert!(said.head.contains(header), "{path} {}", said.head);
            }
        }
    }
    running.stop().await;
}

#[actix_web::test]
async fn the_drawing_is_that_of_graph() {
    let text = design("").replace("[operations]", "[copies]\nlane = 2\n[operations]");
    let (running, address) = start(&text).await;
    let loaded = Loaded::parse("works.toml", text, &catalog(), &Overrides::default());
    let picture = Picture::new(&loaded.expect("a right file").config, Copies::Expanded);
    let drawing = json_of(address, "/api/topology").await;
    let mut outline = serde_json::to_value(picture.outline()).expect("JSON");
    outline["promises"] = json!([{
        "piles": [],
        "books": gopherworks::topology::PROMISES.to_string(),
    }]);
    outline["paused"] = json!([]);
    outline["control"] = json!("off");
    assert_eq!(drawing, outline);
    let svg = get(address, "/api/topology.svg").await;
    assert_eq!(svg.body, picture.draw(Format::Svg));
    // Every node that is drawn is known by its name, in whichever way it is written.
    let names = drawing["nodes"].as_array().expect("nodes").iter();
    for name in names.map(|node| node["name"].as_str().expect("a name")) {
        let node = json_of(address, &format!("/api/nodes/{name}")).await;
        assert_eq!(node["name"], name);
    }
    let quoted = json_of(address, "/api/nodes/haul%5Blane%3D1%5D%2F1").await;
    assert_eq!((&quoted["name"], &quoted["kind"]), (&json!("haul[lane=1]/1"), &json!("gopher")));
    assert_eq!(get(address, "/api/nodes/none").await.status, 404);
    running.stop().await;
}

#[actix_web::test]
async fn books_are_shown_where_they_are_in_pages_and_their_bodies_only_to_those_with_the_token() {
    let (running, address) = start(&still()).await;
    let books = (1..=9).map(|number| match number {
        5 => Book::new(vec![0xff, 0xfe]),
        6 => Book::new(vec![b'x'; (64 << 10) + 1]),
        _ => Book::new(format!("secret {number}")).with_header("name", format!("n{number}")),
    });
    running.offer("inbox", books.collect()).await.expect("room");
    // Waits until the cart is under way.
    let path = "/api/piles/inbox/books";
    let rows = loop {
        let page = json_of(address, path).await;
        let rows = page["books"].as_array().expect("books").clone();
        if rows[0]["state"] == "leased" && rows[0]["holder"] == "haul/1" {
            break rows;
        }
        tokio::task::yield_now().await;
    };
    let shown: Vec<_> = rows.iter().map(|row| (row["id"].as_u64(), &row["state"])).collect();
    let states = ["leased"; 2].into_iter().chain(["ready"; 7]).map(|state| json!(state));
    let states: Vec<Value> = states.collect();
    let wanted: Vec<_> = (1..=9).map(Some).zip(&states).collect();
    assert_eq!(shown, wanted);
    assert_eq!((&rows[0]["name"], &rows[4]["name"]), (&json!("n1"), &json!("book 5")));
    assert!(rows.iter().all(|row| row.get("content").is_none()), "{rows:?}");
    let ids = async |query: &str| -> Vec<u64> {
        let page = json_of(address, &format!("{path}?{query}")).await;
        let rows = page["books"].as_array().expect("books").iter();
        rows.map(|row| row["id"].as_u64().expect("an id")).collect()
    };
    assert_eq!(ids("offset=1&limit=3").await, [2, 3, 4]);
    assert_eq!(ids("state=ready&offset=5").await, [8, 9]);
    assert_eq!(ids("state=leased").await, [1, 2]);
    assert_eq!(ids("state=delayed").await, [0; 0]);
    for (query, wanted) in [
        ("limit=0", 400),
        ("limit=1001", 400),
        ("offset=100001", 400),
        ("limit=-1", 400),
        ("state=lost", 400),
        ("bodies=true", 401),
        ("topology=other", 404),
    ] {
        assert_eq!(get(address, &format!("{path}?{query}")).await.status, wanted, "{query}");
    }
    assert_eq!(get(address, "/api/piles/haul/books").await.status, 404);
    assert_eq!(trusted(address, &format!("{path}?bodies=true&limit=101")).await.status, 400);
    let page = trusted(address, &format!("{path}?bodies=true")).await;
    let page: Value = serde_json::from_str(&page.body).expect("JSON");
    let content = |at: usize| &page["books"][at]["content"];
    assert_eq!(content(0), &json!({ "headers": { "name": "n1" }, "text": "secret 1" }));
    assert_eq!(content(4), &json!({ "headers": {}, "base64": "//4=" }));
    assert_eq!(content(5)["left_out"], "it is larger than 64 KiB");
    let ledger = json_of(address, "/api/ledger").await;
    assert_eq!((&ledger["ledger"]["in_flight"], &ledger["balances"]), (&json!(9), &json!(true)));
    running.stop().await;
}

#[actix_web::test]
async fn dead_letters_are_found_by_what_is_known_of_them() {
    let text =
        design(&format!("token = {TOKEN:?}")).replace("gophers = [", "work = \"odd\"\ngophers = [");
    let (running, address) = start(&text).await;
    burned(&running, 7).await;
    let found = async |query: &str| -> Vec<u64> {
        let page = json_of(address, &format!("/api/dead?{query}")).await;
        let letters = page["letters"].as_array().expect("letters").iter();
        letters.map(|row| row["id"].as_u64().expect("an id")).collect()
    };
    while found("").await.len() < 4 {
        tokio::task::yield_now().await;
    }
    assert_eq!(found("").await, [7, 5, 3, 1], "the newest first");
    assert_eq!(found("offset=1&limit=2").await, [5, 3]);
    assert_eq!(found("node=haul&reason=5%20is").await, [5]);
    assert_eq!(found("pile=inbox&text=book%203").await, [3]);
    assert_eq!(found("node=fire").await, [0; 0]);
    assert_eq!(found("pile=other").await, [0; 0]);
    assert_eq!(get(address, "/api/dead?bodies=true").await.status, 401);
    let page = trusted(address, "/api/dead?bodies=true&limit=1").await;
    let page: Value = serde_json::from_str(&page.body).expect("JSON");
    assert_eq!((&page["dead"], &page["total"]), (&json!(4), &json!(4)));
    assert_eq!(page["letters"][0]["content"], json!({ "headers": {}, "text": "" }));
    let crew = json_of(address, "/api/nodes/haul").await;
    assert_eq!((&crew["dead"], &crew["reasons"][0]["count"]), (&json!(4), &json!(4)));
    let crews = json_of(address, "/api/nodes?kind=crew").await;
    assert_eq!((&crews["total"], &crews["nodes"][0]["name"]), (&json!(1), &json!("haul")));
    running.stop().await;
}

#[actix_web::test]
async fn a_restart_is_shown_with_the_place_of_the_panic() {
    let mut catalog = Catalog::standard();
    catalog.add_inline_work_fn("fragile", "Panics once", |book: Book| {
        assert!(book.id.0 != 1, "the first");
        Ok(Some(book))
    });
    let text = design("").replace("gophers = [", "work = \"fragile\"\ngophers = [");
    let loaded = Loaded::parse("works.toml", text, &catalog, &Overrides::default());
    let running = Topology::from_plan(loaded.expect("a right file").plan).start().await;
    let running = running.expect("it starts");
    burned(&running, 2).await;
    let address = running.operations().expect("a server");
    let gopher = loop {
        let gopher = json_of(address, "/api/nodes/haul/1").await;
        if gopher["restarts"].as_u64() > Some(0) && gopher["state"] == "running" {
            break gopher;
        }
        tokio::task::yield_now().await;
    };
    let events = gopher["events"].as_array().expect("events");
    let exited = events.iter().find(|event| event["kind"] == "exited").expect("an exit");
    let text = exited["text"].as_str().expect("a text");
    assert!(
        text.contains("tests/services/operations/api.rs:") && text.contains("the first"),
        "{text}"
    );
    running.stop().await;
}
