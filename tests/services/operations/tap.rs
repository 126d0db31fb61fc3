//! Taps: the books that pass a node.

use gopherworks::Book;
use gopherworks::web::openapi;
use serde_json::Value;

use super::stream::{Client, odd};
use super::*;

const TOKEN: &str = "correct-horse-battery";

/// Headers and a body for each book.
fn books(count: usize) -> Vec<Book> {
    let book = |number: usize| Book::new(format!("body {number}")).with_header("kind", "letter");
    // Numbers of books start at 1.
    (1..=count).map(book).collect()
}

async fn offered(running: &RunningTopology, books: Vec<Book>) {
    for book in running.offer_watched("inbox", books).await.expect("room") {
        assert!(book.await.is_some());
    }
}

/// The next `count` books of a tap, which are as the document says.
async fn taken(tap: &mut Client, count: usize) -> Vec<Value> {
    let document = openapi();
    let content = &document["paths"]["/api/nodes/{node}/tap"]["get"]["responses"]["200"]["content"];
    let mut found = Vec::new();
    while found.len() < count {
        let sent = tap.next().await.expect("an event");
        super::api::conforms(&document, &content["text/event-stream"]["schema"], &sent.data);
        assert_eq!(sent.name, "book", "{sent:?}");
        found.push(sent.data);
    }
    found
}

fn rows(books: &[Value]) -> Vec<(u64, &str)> {
    books
        .iter()
        .map(|book| (book["id"].as_u64().expect("a number"), book["what"].as_str().expect("text")))
        .collect()
}

#[actix_web::test]
async fn each_node_shows_what_passes_and_how_it_ends() {
    let (running, operations) = odd().await;
    let open =
        async |node: &str| Client::open(&operations, &format!("/api/nodes/{node}/tap"), None).await;
    let (mut pile, mut crew, mut fire) =
        (open("inbox").await, open("haul").await, open("fire").await);
    offered(&running, books(4)).await;
    assert_eq!(
        rows(&taken(&mut pile, 4).await),
        [(1, "leased"), (2, "leased"), (3, "leased"), (4, "leased")]
    );
    let brought = taken(&mut crew, 4).await;
    assert_eq!(rows(&brought), [(1, "failed"), (2, "brought"), (3, "failed"), (4, "brought")]);
    assert_eq!(brought[0]["reason"], "1 is odd");
    assert_eq!((&brought[1]["size"], &brought[1]["attempt"]), (&6.into(), &1.into()));
    assert!(brought.iter().all(|book| book["content"].is_null()), "{brought:?}");
    // Books that failed in the crew do not come as far as the incinerator.
    assert_eq!(rows(&taken(&mut fire, 2).await), [(2, "burned"), (4, "burned")]);
    running.stop().await;
}

#[actix_web::test]
async fn contents_need_the_token_and_a_text_selects() {
    let (running, operations) = odd().await;
    let operations = operations.token(TOKEN);
    let bearer = Some(("authorization", format!("Bearer {TOKEN}")));
    let path = "/api/nodes/fire/tap?bodies=true&text=body%202";
    let mut tap = Client::open(&operations, path, bearer).await;
    // Without contents a text is looked for in names and reasons.
    let mut named = Client::open(&operations, "/api/nodes/haul/tap?text=3%20is", None).await;
    let mut large = books(6);
    large[5] = Book::new("x".repeat(65 << 10)).with_header("kind", "body 2 is too large");
    offered(&running, large).await;
    let found = taken(&mut tap, 2).await;
    assert_eq!(rows(&found), [(2, "burned"), (6, "burned")]);
    assert_eq!(found[0]["content"]["text"], "body 2");
    assert_eq!(found[0]["content"]["headers"]["kind"], "letter");
    assert!(found[1]["content"]["text"].is_null(), "{}", found[1]);
    assert!(found[1]["content"]["left_out"].as_str().expect("a reason").contains("64 KiB"));
    assert_eq!(rows(&taken(&mut named, 1).await), [(3, "failed")]);
    running.stop().await;
}

#[actix_web::test]
async fn books_that_are_too_fast_are_counted_and_a_closed_tap_costs_nothing() {
    let (running, operations) = odd().await;
    let mut tap = Client::open(&operations, "/api/nodes/inbox/tap", None).await;
    offered(&running, books(2_000)).await;
    let (mut shown, mut missed) = (0, 0);
    while shown + missed < 2_000 {
        let sent = tap.next().await.expect("an event");
        match sent.name.as_str() {
            "book" => shown += 1,
            "missed" => missed += sent.data["books"].as_u64().expect("a number"),
            other => panic!("{other}"),
        }
    }
    // The tap was not read while they passed.
    assert_eq!((shown, missed), (256, 2_000 - 256));
    let mut places = Vec::new();
    for _ in 1..8 {
        places.push(Client::open(&operations, "/api/nodes/inbox/tap", None).await);
    }
    drop(tap);
    drop(places);
    offered(&running, books(10)).await;
    let mut tap = Client::open(&operations, "/api/nodes/inbox/tap", None).await;
    offered(&running, books(1)).await;
    assert_eq!(rows(&taken(&mut tap, 1).await), [(2_011, "leased")]);
    running.stop().await;
}

#[actix_web::test]
async fn a_tap_that_can_not_be_opened_says_why() {
    let token = format!("token = {TOKEN:?}");
    let (running, address) = start(&design(&token)).await;
    for (path, status, text) in [
        ("haul/1/tap", 409, "piles, dumps, crews"),
        ("desk/tap", 409, "piles, dumps, crews"),
        ("nothing/tap", 404, "no such node"),
        ("haul/tap?bodies=true", 401, "require the token"),
        ("haul/tap?no_such_thing=1", 400, "no_such_thing"),
    ] {
        let said = get(address, &format!("/api/nodes/{path}")).await;
        assert_eq!(said.status, status, "{path}: {}", said.body);
        assert!(said.body.contains(text), "{path}: {}", said.body);
    }
    let mut open = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let head = b"GET /api/nodes/haul/tap HTTP/1.1\r\nhost: localhost\r\n\r\n";
        stream.write_all(head).await.expect("it listens");
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.expect("a response");
        assert_eq!(&first, b"HTTP/1.1 200");
        open.push(stream);
    }
    let said = get(address, "/api/nodes/haul/tap").await;
    assert!(said.status == 503 && said.body.contains("at most 8 taps"), "{said:?}");
    // Open taps hold neither the run nor its end.
    assert!(running.drain(None).await.balances());
    let mut said = String::new();
    open[0].read_to_string(&mut said).await.expect("a stream");
    assert!(said.contains("event: end"), "{said}");
}
