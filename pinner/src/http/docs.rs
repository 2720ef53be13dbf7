//! `/docs`: a page that shows `/openapi.json` to people. It asks nobody but this server for anything.

use actix_web::HttpResponse;

const PAGE: &str = include_str!("docs.html");
/// Its own script and style, and its own server's description; nothing else.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page.
pub async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("content-security-policy", POLICY))
        .body(PAGE)
}
