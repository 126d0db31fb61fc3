//! Stores that many processes share, as the command sees them without a server.

use crate::support;

use support::command::Place;

/// A design whose store is on a port where no server listens.
fn design(store: &str) -> String {
    format!(
        "[store]\nkind = \"postgres\"\n{store}\n\n\
         [piles.inbox]\nsource = {{ kind = \"generate\", books = 3 }}\n\n\
         [incinerators.out]\nburn = \"count\"\n\n\
         [crews.near]\nfrom = \"inbox\"\nto = \"out\"\ngophers = [\"load push unload return\"]\n"
    )
}

/// What the command prints, on both streams, and if it succeeds.
fn said(place: &Place, args: &[&str]) -> (String, bool) {
    let mut command = place.run(args);
    let output = command.env("DATABASE_URL", "postgres://me:secret@localhost:1/works").output();
    let output = output.expect("the command");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.success())
}

#[test]
fn nothing_prints_the_url_of_a_store() {
    let place = Place::new();
    place.write("t.toml", design("url = \"${env.DATABASE_URL}\"\nworks = \"post\""));
    let (text, valid) = said(&place, &["validate", "t.toml"]);
    assert!(valid && text.contains("shared by processes"), "{text}");
    for args in [
        ["run", "t.toml"].as_slice(),
        &["pile", "list", "t.toml"],
        &["pile", "check", "t.toml", "--format", "json"],
        &["dead", "list", "t.toml"],
    ] {
        let (text, done) = said(&place, args);
        assert!(!done && !text.contains("secret"), "{args:?}: {text}");
    }
    let (text, done) = said(&place, &["simulate", "t.toml"]);
    assert!(done && !text.contains("secret"), "no simulation opens a store: {text}");
    // On another host, a URL without TLS is refused before anything is sent.
    let url = "url = \"postgres://me:secret@example.org/works?sslmode=disable\"";
    place.write("t.toml", design(&format!("{url}\nworks = \"post\"")));
    let (text, done) = said(&place, &["pile", "list", "t.toml"]);
    assert!(!done && text.contains("another host") && !text.contains("secret"), "{text}");
}

#[test]
fn a_shared_store_needs_a_name_of_the_works_and_a_sound_lease() {
    let place = Place::new();
    for (keys, wanted) in [
        ("", "`works`"),
        ("works = \"\"", "the works need a name"),
        ("works = \"post\"\nlease = \"100ms\"", "1 second to 1 hour"),
        ("works = \"post\"\nuri = \"x\"", "uri"),
    ] {
        place.write("t.toml", design(&format!("url = \"${{env.DATABASE_URL}}\"\n{keys}")));
        let (text, valid) = said(&place, &["validate", "t.toml"]);
        assert!(!valid && text.contains(wanted), "{wanted}: {text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[test]
fn a_source_that_cannot_be_read_by_another_process_is_refused() {
    let place = Place::new();
    let text = design("url = \"${env.DATABASE_URL}\"\nworks = \"post\"");
    let text = text.replace("\"generate\", books = 3", "\"lines\", path = \"-\"");
    place.write("t.toml", &text);
    let (said_of, valid) = said(&place, &["validate", "t.toml"]);
    assert!(!valid && said_of.contains("standard input"), "{said_of}");
    assert!(said_of.contains("store = \"memory\""), "{said_of}");
    place.write("t.toml", text.replace("[piles.inbox]", "[piles.inbox]\nstore = \"memory\""));
    let (said_of, _) = said(&place, &["validate", "t.toml"]);
    assert!(!said_of.contains("another process"), "{said_of}");
}

#[test]
#[cfg(feature = "jetstream")]
fn a_stream_promises_no_more_than_its_servers_do() {
    let place = Place::new();
    let url = "url = \"nats://me:secret@127.0.0.1:1\"";
    let design = |keys: &str| design(keys).replace("\"postgres\"", "\"jetstream\"");
    for (synced, power) in [("", "; not power loss"), ("synced = true", ", power loss")] {
        let keys = format!("{url}\nworks = \"post\"\nreplicas = 3\n{synced}");
        place.write("t.toml", design(&keys));
        let (text, valid) = said(&place, &["validate", "t.toml"]);
        assert!(valid && text.contains(power), "{synced}: {text}");
        assert!(text.contains("a late ack may end another's lease"), "{text}");
        assert!(text.contains("passes are atomic"), "{text}");
        let told = text.contains("`sync_interval: always`");
        assert_eq!(told, synced.is_empty(), "{text}");
        for args in [["run", "t.toml"].as_slice(), &["pile", "list", "t.toml"]] {
            let (text, done) = said(&place, args);
            assert!(!done && !text.contains("secret"), "{args:?}: {text}");
        }
    }
    for (keys, wanted) in [
        ("", "`works`"),
        ("works = \"\"", "the works need a name"),
        ("works = \"post\"\nreplicas = 7", "1 to 5 servers"),
    ] {
        place.write("t.toml", design(&format!("{url}\n{keys}")));
        let (text, valid) = said(&place, &["validate", "t.toml"]);
        assert!(!valid && text.contains(wanted) && !text.contains("secret"), "{wanted}: {text}");
    }
}
