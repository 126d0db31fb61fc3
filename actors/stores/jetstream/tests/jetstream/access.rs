//! Passwords and certificates.

use std::io::Write;
use std::path::Path;
use std::process::Command;

use gopherworks_jetstream::Jetstream;
use gopherworks_pipeline::store::{Backend, StoreError};

use crate::server::{Server, free_port, program};

async fn open(store: Jetstream) -> Result<(), StoreError> {
    store.open(&[]).await?;
    store.close().await
}

#[actix::test]
async fn the_password_of_the_url_is_used() {
    let Some(program) = program() else { return };
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let users = r#"authorization { user: "u", password: "p@%" }"#;
    let _server = Server::configured(&program, folder.path(), port, users);
    open(Jetstream::new(format!("nats://u:p%40%25@127.0.0.1:{port}"), "a")).await.unwrap();
    let wrong = Jetstream::new(format!("nats://u:secret@127.0.0.1:{port}"), "a");
    assert!(!format!("{wrong:?}").contains("secret"));
    let error = open(wrong).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

/// Makes an authority `ca.pem`, and `cert.pem` for this host with `key.pem`; false without OpenSSL.
fn certificates(folder: &Path) -> bool {
    let new = ["req", "-x509", "-nodes", "-days", "2", "-newkey", "ec", "-pkeyopt"];
    let steps: [&[&str]; 2] = [
        &["-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem"],
        &[
            "-subj",
            "/CN=server",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ],
    ];
    steps.iter().all(|step| {
        let mut command = Command::new("openssl");
        command.args(new).arg("ec_paramgen_curve:P-256").args(*step).current_dir(folder);
        command.output().is_ok_and(|done| done.status.success())
    })
}

#[actix::test]
async fn only_verified_servers_are_used_with_tls() {
    let Some(program) = program() else { return };
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    if !certificates(folder.path()) {
        let _ = writeln!(std::io::stderr(), "skipped: OpenSSL can't make certificates");
        return;
    }
    let at = |name: &str| folder.path().join(name);
    let tls = format!("tls {{ cert_file: {:?}, key_file: {:?} }}", at("cert.pem"), at("key.pem"));
    let server = Server::configured(&program, folder.path(), port, &tls);
    let url = format!("tls://127.0.0.1:{port}");
    open(Jetstream::new(&url, "a").certificates(at("ca.pem"))).await.unwrap();
    let unknown = open(Jetstream::new(&url, "a")).await;
    assert!(matches!(unknown, Err(StoreError::Unavailable { .. })), "{unknown:?}");
    drop(server);
    // A server without TLS, where TLS is asked for.
    let _server = Server::start(&program, folder.path(), port);
    let plain = open(Jetstream::new(&url, "a").certificates(at("ca.pem"))).await;
    assert!(matches!(plain, Err(StoreError::Unavailable { .. })), "{plain:?}");
    open(Jetstream::new(url.replace("tls", "nats"), "a")).await.unwrap();
}
