//! The page for operators: files in the binary that a browser loads. They contain no data: the
//! page reads the API, with the token if one is needed.

use std::future::{Ready, ready};

use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, guard};

use super::Operations;

/// The page loads nothing from elsewhere, runs no code in its HTML, and is shown in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, media type and content of each file.
const FILES: [(&str, &str, &str); 11] = [
    ("/", HTML, include_str!("page/index.html")),
    ("/assets/icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("/assets/page.css", CSS, include_str!("page/page.css")),
    ("/assets/page.js", JAVASCRIPT, include_str!("page/page.js")),
    ("/assets/control.js", JAVASCRIPT, include_str!("page/control.js")),
    ("/assets/detail.js", JAVASCRIPT, include_str!("page/detail.js")),
    ("/assets/layout.js", JAVASCRIPT, include_str!("page/layout.js")),
    ("/assets/live.js", JAVASCRIPT, include_str!("page/live.js")),
    ("/assets/map.js", JAVASCRIPT, include_str!("page/map.js")),
    ("/assets/table.js", JAVASCRIPT, include_str!("page/table.js")),
    ("/assets/text.js", JAVASCRIPT, include_str!("page/text.js")),
];

/// Adds a route for each file, with the check of hosts.
pub(super) fn add(config: &mut ServiceConfig, of: &web::Data<Operations>) {
    for (path, media, content) in FILES {
        let of = of.clone();
        let show = move |request: HttpRequest| {
            ready(of.foreign(&request).unwrap_or_else(|| file(media, content)))
        };
        let readable = guard::Any(guard::Get()).or(guard::Head());
        config.service(web::resource(path).route(web::route().guard(readable).to(show)));
    }
    // The page refers to its files by relative paths, so its own path must end with a slash.
    let ends = guard::fn_guard(|context| !context.head().uri.path().ends_with('/'));
    config.service(web::resource("").guard(ends).route(web::get().to(with_slash)));
}

fn with_slash(request: HttpRequest) -> Ready<HttpResponse> {
    let last = request.path().rsplit('/').next().unwrap_or_default();
    ready(HttpResponse::PermanentRedirect().insert_header((LOCATION, format!("{last}/"))).finish())
}

fn file(media: &'static str, content: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, media))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        // Checked at each load: a newer program may serve other files.
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_its_own_files_only_and_has_no_inline_code() {
        let html = FILES[0].2;
        for forbidden in ["http://", "https://", "<style", "style=", " onclick", "javascript:"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
        for part in html.split("<script").skip(1) {
            assert!(part.contains("src=\"assets/"), "{part}");
        }
        let known: Vec<&str> = FILES.iter().map(|(path, ..)| &path[1..]).collect();
        for reference in html.split("=\"assets/").skip(1) {
            let name = format!("assets/{}", reference.split('"').next().unwrap());
            assert!(known.contains(&name.as_str()), "{name}");
        }
        for (path, media, content) in FILES.iter().filter(|(_, media, _)| *media == JAVASCRIPT) {
            assert!(
                !content.contains("innerHTML"),
                "{path} ({media}) must not parse texts as HTML"
            );
            for import in content.split("from \"./").skip(1) {
                let name = format!("assets/{}", import.split('"').next().unwrap());
                assert!(known.contains(&name.as_str()), "{path} imports {name}");
            }
        }
    }
}
