//! `/openapi.json`: the description of the API, made from the handlers.

mod failures;
mod requests;

use super::{admin, api, error, health, pins, wire};
use actix_web::HttpResponse;
use failures::Failures;
pub use requests::{PinRequest, PinsQuery, Status};
use std::{collections::BTreeMap, sync::LazyLock};
use utoipa::{
    Modify, OpenApi,
    openapi::path::PathItem,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

#[derive(OpenApi)]
#[openapi(
    info(title = "Anchorage", description = "A multi-tenant IPFS pinning service. `/pins` is the IPFS Pinning Services API 1.0.0."),
    paths(
        pins::list, pins::create, pins::read, pins::replace, pins::delete,
        api::org::read, api::org::usage, api::members::list, api::members::put, api::members::remove,
        api::deletion::delete, api::export::export, api::import::import, api::uploads::upload,
        admin::nodes::list, admin::nodes::read, admin::nodes::schedule,
        admin::nodes::cordon, admin::nodes::uncordon, admin::nodes::drain,
        admin::maintenance::read, admin::maintenance::begin, admin::maintenance::end_now,
        admin::rebalance::read, admin::rebalance::apply, admin::presences::list,
        admin::orgs::list, admin::orgs::create, admin::orgs::limit, admin::tokens::mint,
        admin::tokens::revoke, admin::tokens::prune, admin::keys::list, admin::keys::rotate, admin::caches::stats,
        api::tokens::list, api::tokens::mint, api::tokens::revoke,
        health::livez, health::readyz, document,
    ),
    components(schemas(error::Failure, requests::Cid, wire::PinStatus, wire::PinResults)),
    modifiers(&BearerToken, &Failures),
    tags(
        (name = "pins", description = "The IPFS Pinning Services API"),
        (name = "org", description = "The token's org: its limits, its usage, its members, its tokens"),
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

/// The methods that a path takes, as the header `Allow` lists them; `route` as it is in the route table.
pub fn methods(route: Option<&str>) -> String {
    static METHODS: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
        let paths = Document::openapi().paths.paths;
        paths.into_iter().map(|(path, item)| (path, methods_of(&item).join(", "))).collect()
    });
    // What is not described is read only: the page with the description.
    route.and_then(|route| METHODS.get(route)).cloned().unwrap_or_else(|| "GET, HEAD".to_owned())
}

fn methods_of(item: &PathItem) -> Vec<&'static str> {
    let all = [
        ("GET", &item.get),
        ("HEAD", &item.get),
        ("PUT", &item.put),
        ("POST", &item.post),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
    ];
    all.into_iter().filter(|(_, operation)| operation.is_some()).map(|(method, _)| method).collect()
}

/// This description.
#[utoipa::path(get, path = "/openapi.json", tag = "probes", responses((status = 200, description = "OpenAPI 3.1", body = Value)))]
pub async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(json())
}
