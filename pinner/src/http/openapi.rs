//! `/openapi.json`: the description of the API, made from the handlers.

use super::{admin, api, error, health, pins, wire};
use actix_web::HttpResponse;
use std::collections::BTreeMap;
use utoipa::{
    Modify, OpenApi, ToSchema,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

/// What a client sends to pin something. Only described here; it is parsed by `pinner_core::pin`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a description; requests are parsed into pinner_core::pin::RawPin")]
pub struct PinRequest {
    /// The CID to pin.
    #[schema(example = "bafybeie5nqv6kd3qnfjupgvz34woh3oksc3iau6abmyajn7qvtf6d2ho34")]
    cid: String,
    /// A label, at most 255 characters.
    #[schema(max_length = 255)]
    name: Option<String>,
    /// Peers that have the content. Those that cannot be used are left out, never refused.
    origins: Option<Vec<String>>,
    /// At most 1,000 pairs and 16 KiB.
    meta: Option<BTreeMap<String, String>>,
}

/// Where a pin stands.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Status {
    /// Accepted, waiting for a node to take it up.
    Queued,
    /// Nodes are fetching the content.
    Pinning,
    /// Enough nodes hold the content.
    Pinned,
    /// Given up.
    Failed,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Anchorage", description = "A multi-tenant IPFS pinning service. `/pins` is the IPFS Pinning Services API 1.0.0."),
    paths(
        pins::list, pins::create, pins::read, pins::replace, pins::delete,
        api::org::read, api::org::usage, api::members::list, api::members::put, api::members::remove,
        api::deletion::delete, api::export::export, api::import::import, api::uploads::upload,
        admin::nodes::list, admin::nodes::read, admin::nodes::schedule,
        admin::nodes::cordon, admin::nodes::uncordon, admin::nodes::drain,
        admin::orgs::list, admin::orgs::create, admin::orgs::limit, admin::tokens::mint,
        health::livez, health::readyz,
    ),
    components(schemas(error::Failure, wire::PinStatus, wire::PinResults)),
    modifiers(&BearerToken),
    tags(
        (name = "pins", description = "The IPFS Pinning Services API"),
        (name = "org", description = "The token's org: its limits, its usage, its members"),
        (name = "uploads", description = "Content sent instead of fetched"),
        (name = "bulk", description = "Many pins at once"),
        (name = "admin", description = "For whoever runs the platform"),
        (name = "probes", description = "For Kubernetes"),
    )
)]
struct Document;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(token));
    }
}

/// The description as JSON, for `anchorage openapi`.
pub fn json() -> String {
    Document::openapi().to_pretty_json().expect("the description can be written as JSON")
}

/// The description.
pub async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(json())
}
