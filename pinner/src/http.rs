//! The HTTP surface: the pinning API, the admin API, probes, the description of all of it.

pub mod admin;
pub mod api;
pub mod auth;
pub mod body;
pub mod cors;
pub mod detached;
pub mod docs;
pub mod error;
pub mod health;
pub mod incoming;
mod info;
pub mod metrics;
pub mod openapi;
pub mod pins;
pub mod wire;

use crate::service::Service;
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer, Resource, Route,
    body::MessageBody,
    dev::{Server, ServiceRequest, ServiceResponse},
    guard,
    middleware::{Next, from_fn},
    web,
};
use error::ApiError;
use std::{net::TcpListener, sync::Arc, time::Duration, time::Instant};

/// How long a client may take to send its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Threads that parse and answer; the work behind them runs elsewhere.
const WORKERS: usize = 2;

/// The whole route table. What browsers may call from anybody's page has CORS; administration has not.
fn routes(config: &mut web::ServiceConfig) {
    config
        .service(
            web::scope("/pins")
                .wrap(cors::open(cors::PINS))
                .wrap(from_fn(cors::in_form))
                .service(resource("").route(get().to(pins::list)).route(web::post().to(pins::create)))
                .service(
                    resource("/{requestid}")
                        .route(get().to(pins::read))
                        .route(web::post().to(pins::replace))
                        .route(web::delete().to(pins::delete)),
                ),
        )
        .service(
            web::scope("/api/v1")
                .wrap(cors::open(cors::API))
                .wrap(from_fn(cors::in_form))
                .service(resource("/org").route(get().to(api::org::read)))
                .service(resource("/usage").route(get().to(api::org::usage)))
                .service(resource("/members").route(get().to(api::members::list)))
                .service(
                    resource("/members/{subject}")
                        .route(web::put().to(api::members::put))
                        .route(web::delete().to(api::members::remove)),
                )
                .service(
                    resource("/tokens").route(get().to(api::tokens::list)).route(web::post().to(api::tokens::mint)),
                )
                .service(resource("/tokens/{token}").route(web::delete().to(api::tokens::revoke)))
                .service(resource("/pins/delete").route(web::post().to(api::deletion::delete)))
                .service(resource("/pins/export").route(get().to(api::export::export)))
                .service(resource("/pins/import").route(web::post().to(api::import::import)))
                .service(resource("/uploads").route(web::post().to(api::uploads::upload))),
        )
        .service(resource("/admin/v1/nodes").route(get().to(admin::nodes::list)))
        .service(resource("/admin/v1/presences").route(get().to(admin::presences::list)))
        .service(
            resource("/admin/v1/maintenance")
                .route(get().to(admin::maintenance::read))
                .route(web::put().to(admin::maintenance::begin))
                .route(web::delete().to(admin::maintenance::end_now)),
        )
        .service(
            resource("/admin/v1/rebalance")
                .route(get().to(admin::rebalance::read))
                .route(web::post().to(admin::rebalance::apply)),
        )
        .service(resource("/admin/v1/nodes/{node}").route(get().to(admin::nodes::read)))
        .service(resource("/admin/v1/nodes/{node}/scheduling").route(web::put().to(admin::nodes::schedule)))
        .service(resource("/admin/v1/nodes/{node}/cordon").route(web::post().to(admin::nodes::cordon)))
        .service(resource("/admin/v1/nodes/{node}/uncordon").route(web::post().to(admin::nodes::uncordon)))
        .service(resource("/admin/v1/nodes/{node}/drain").route(web::post().to(admin::nodes::drain)))
        .service(
            resource("/admin/v1/orgs").route(get().to(admin::orgs::list)).route(web::post().to(admin::orgs::create)),
        )
        .service(resource("/admin/v1/orgs/{org}").route(web::patch().to(admin::orgs::limit)))
        .service(resource("/admin/v1/tokens").route(web::post().to(admin::tokens::mint)))
        .service(resource("/admin/v1/tokens/{token}").route(web::delete().to(admin::tokens::revoke)))
        .service(resource("/admin/v1/denylist/prune").route(web::post().to(admin::tokens::prune)))
        .service(resource("/admin/v1/keys").route(get().to(admin::keys::list)))
        .service(resource("/admin/v1/keys/rotate").route(web::post().to(admin::keys::rotate)))
        .service(resource("/admin/v1/cache-stats").route(get().to(admin::caches::stats)))
        .service(resource("/docs").route(get().to(docs::page)))
        .service(resource("/openapi.json").route(get().to(openapi::document)))
        .service(resource("/livez").route(get().to(health::livez)))
        .service(resource("/readyz").route(get().to(health::readyz)))
        .default_service(web::to(not_found));
}

/// GET, and HEAD with it: the server leaves the body out of an answer to HEAD.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// A path that refuses every method which is not added to it.
fn resource(path: &str) -> Resource {
    web::resource(path).default_service(web::to(method_not_allowed))
}

/// Serves the API on a socket that is bound already. Ends gracefully when its handle is told to stop.
pub fn serve(service: Arc<Service>, listener: TcpListener, grace: Duration) -> std::io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new().app_data(web::Data::from(Arc::clone(&service))).wrap(from_fn(observe)).configure(routes)
    })
    .workers(WORKERS)
    .client_request_timeout(HEAD_TIMEOUT)
    .shutdown_timeout(grace.as_secs())
    .disable_signals()
    .listen(listener)?;
    Ok(server.run())
}

async fn not_found() -> Result<HttpResponse, ApiError> {
    Err(ApiError::not_found("there is nothing at this path; see /openapi.json"))
}

async fn method_not_allowed(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(ApiError::MethodNotAllowed(openapi::methods(request.match_pattern().as_deref())))
}

/// Counts and times every request under its route.
async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let started = Instant::now();
    let method = match request.method().as_str() {
        method @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS" | "HEAD") => method.to_owned(),
        _ => "other".to_owned(),
    };
    let service = request.app_data::<web::Data<Service>>().cloned();
    let route = request.match_pattern().unwrap_or_else(|| "none".to_owned());
    let answer = next.call(request).await;
    if let Some(service) = service {
        let status = match &answer {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        service.metrics.request(&method, &route, status.as_u16(), started.elapsed().as_secs_f64());
    }
    answer
}
