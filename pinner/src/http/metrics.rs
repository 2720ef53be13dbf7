//! The metrics port: its own socket, and only for peers whose address is on the list. No header can change that.

use crate::metrics::Metrics;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::Server, web};
use ipnet::IpNet;
use std::{net::TcpListener, sync::Arc};

struct Gate {
    metrics: Arc<Metrics>,
    allowed: Vec<IpNet>,
}

/// Serves `/metrics` on a socket that is bound already.
pub fn serve(metrics: Arc<Metrics>, allowed: Vec<IpNet>, listener: TcpListener) -> std::io::Result<Server> {
    let gate = web::Data::new(Gate { metrics, allowed });
    let server = HttpServer::new(move || App::new().app_data(gate.clone()).route("/metrics", web::get().to(scrape)))
        .workers(1)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
}

async fn scrape(gate: web::Data<Gate>, request: HttpRequest) -> HttpResponse {
    let peer = request.peer_addr().map(|address| address.ip().to_canonical());
    if !peer.is_some_and(|peer| gate.allowed.iter().any(|range| range.contains(&peer))) {
        return HttpResponse::Forbidden()
            .content_type("text/plain; charset=utf-8")
            .body("your address is not in metrics.allowCidrs\n");
    }
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(gate.metrics.render())
}
