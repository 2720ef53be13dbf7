//! The operator's own HTTP: probes and metrics, nothing else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::health::WatchHealth;
use crate::metrics::Metrics;

/// What probes and metrics look at.
#[derive(Clone)]
pub struct Sight {
    /// How the watches fare.
    pub health: Arc<WatchHealth>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Whether this process acts; one that stands by is ready as it is.
    pub leads: Arc<AtomicBool>,
    /// Whether it is about to end.
    pub ending: Arc<AtomicBool>,
}

/// Serves until the task is dropped.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(address: SocketAddr, sight: Sight) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                // Out of file descriptors, most likely: others must close first.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let sight = sight.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let answer = sight.answer(request.uri().path());
                async { Ok::<_, Infallible>(answer) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(hyper_util::rt::TokioTimer::new())
                .header_read_timeout(std::time::Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}

impl Sight {
    /// The answer to a request for `path`.
    #[must_use]
    pub fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        let (status, text) = match path {
            "/livez" => judged(self.health.stuck(), "watches that make no progress"),
            "/readyz" if self.ending.load(Ordering::Relaxed) => {
                (StatusCode::SERVICE_UNAVAILABLE, "ending\n".to_owned())
            }
            "/readyz" if self.leads.load(Ordering::Relaxed) => judged(self.health.unsynced(), "watches not begun"),
            "/readyz" => (StatusCode::OK, "standing by\n".to_owned()),
            "/metrics" => (StatusCode::OK, self.metrics.text()),
            _ => (StatusCode::NOT_FOUND, "paths: /livez /readyz /metrics\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        let text_type = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(hyper::header::CONTENT_TYPE, text_type);
        response
    }
}

fn judged(wrong: Vec<&'static str>, what: &str) -> (StatusCode, String) {
    if wrong.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{what}: {}\n", wrong.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight() -> Sight {
        Sight { health: Arc::default(), metrics: Arc::default(), leads: Arc::default(), ending: Arc::default() }
    }

    #[test]
    fn a_follower_is_ready_and_a_leader_when_its_watches_have_begun() {
        let sight = sight();
        sight.health.begin("Pod");
        assert_eq!(sight.answer("/readyz").status(), StatusCode::OK);
        sight.leads.store(true, Ordering::Relaxed);
        assert_eq!(sight.answer("/readyz").status(), StatusCode::SERVICE_UNAVAILABLE);
        sight.health.well("Pod");
        assert_eq!(sight.answer("/readyz").status(), StatusCode::OK);
        sight.ending.store(true, Ordering::Relaxed);
        assert_eq!(sight.answer("/readyz").status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[test]
    fn liveness_does_not_hang_on_others() {
        let sight = sight();
        sight.health.begin("Pod");
        assert_eq!(sight.answer("/livez").status(), StatusCode::OK);
        assert_eq!(sight.answer("/").status(), StatusCode::NOT_FOUND);
    }
}
