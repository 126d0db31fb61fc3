//! The page for operators.

use actix_web::{App, test, web};
use gopherworks::web::Operations;

use super::{ask, get, start};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

#[actix_web::test]
async fn the_page_and_all_its_files_are_served_under_a_strict_policy() {
    let (running, address) = start(&super::design("")).await;
    let page = get(address, "/").await;
    assert_eq!(page.status, 200);
    let mut files = vec!["/".to_owned()];
    let mut found = 0;
    while let Some(path) = files.get(found).cloned() {
        found += 1;
        let said = get(address, &path).await;
        assert_eq!(said.status, 200, "{path}");
        assert!(said.head.contains(&format!("content-security-policy: {POLICY}")), "{path}");
        assert!(said.head.contains("x-content-type-options: nosniff"), "{path}");
        let media = match path.rsplit_once('.') {
            Some((_, "js")) => "text/javascript",
            Some((_, "css")) => "text/css",
            Some((_, "svg")) => "image/svg+xml",
            _ => "text/html",
        };
        assert!(said.head.contains(&format!("content-type: {media}")), "{path}: {}", said.head);
        let named =
            |before| said.body.split(before).skip(1).filter_map(|rest| rest.split('"').next());
        let more =
            named("=\"assets/").chain(named("from \"./")).map(|name| format!("/assets/{name}"));
        for path in more {
            if !files.contains(&path) {
                files.push(path);
            }
        }
    }
    assert_eq!(found, 11, "{files:?}");
    let head = ask(address, "HEAD /", "host: localhost\r\n").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(ask(address, "POST /", "host: localhost\r\n").await.status, 405);
    assert_eq!(get(address, "/assets/../Cargo.toml").await.status, 404);
    running.stop().await;
}

#[actix_web::test]
async fn the_page_is_shown_to_anyone_but_no_data_without_the_token() {
    let token = "token = \"0123456789abcdef\"\npublic = true";
    let (running, address) = start(&super::design(token)).await;
    assert_eq!(get(address, "/").await.status, 200);
    assert_eq!(get(address, "/assets/page.js").await.status, 200);
    assert_eq!(get(address, "/api/topology").await.status, 401);
    let trusted = "host: localhost\r\nauthorization: Bearer 0123456789abcdef\r\n";
    assert_eq!(ask(address, "GET /api/topology", trusted).await.status, 200);
    for foreign in ["host: evil.example\r\n", "host: localhost\r\norigin: http://evil.example\r\n"]
    {
        let said = ask(address, "GET /", foreign).await;
        assert!([421, 403].contains(&said.status), "{foreign}: {}", said.status);
    }
    running.stop().await;
}

#[actix_web::test]
async fn below_a_scope_the_page_has_a_slash_at_its_end() {
    let scope = web::scope("/ops").configure(Operations::new().routes());
    let app = test::init_service(App::new().service(scope)).await;
    let get = async |path: &str| {
        let request = test::TestRequest::get().uri(path).to_request();
        test::call_service(&app, request).await
    };
    let redirect = get("/ops").await;
    assert_eq!(redirect.status().as_u16(), 308);
    assert_eq!(redirect.headers().get("location").unwrap(), "ops/");
    assert_eq!(get("/ops/").await.status().as_u16(), 200);
    assert_eq!(get("/ops/assets/map.js").await.status().as_u16(), 200);
}
