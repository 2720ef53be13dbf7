//! A stand-in for a cluster's pinners: the part of their admin API that the operator speaks, over real HTTP.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Pinners of one cluster, with what they were asked.
#[derive(Clone, Default)]
pub(crate) struct FakePinner(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    nodes: BTreeMap<String, Value>,
    /// `PUT` bodies by node, in order.
    asked: Vec<(String, Value)>,
    /// What stands in the way of drains.
    blocked_by: Vec<String>,
    /// The token that is accepted.
    token: Option<String>,
}

impl FakePinner {
    /// Starts on a free port; returns the pinners and their address.
    pub(crate) async fn start() -> (Self, String) {
        let pinner = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let served = pinner.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let served = served.clone();
                tokio::spawn(async move {
                    let answer = service_fn(move |request| {
                        let served = served.clone();
                        async move { Ok::<_, Infallible>(served.answer(request).await) }
                    });
                    // A client that goes away is no failure of the test.
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        (pinner, address)
    }

    /// A node registers, as its pinner does at its start.
    pub(crate) fn register(&self, name: &str) {
        let node = json!({
            "id": format!("node_{name}"), "name": name, "zone": "", "live": true, "state": "up", "scheduling": "Active",
            "peerId": format!("12D3{name}"), "kuboReady": true, "placements": { "pinned": 2 },
        });
        self.state().nodes.insert(name.to_owned(), node);
    }

    /// From now on drains do not get done, because of `why`.
    pub(crate) fn block_drains(&self, why: &str) {
        self.state().blocked_by = vec![why.to_owned()];
    }

    /// All data has left `name`.
    pub(crate) fn finish_drain(&self, name: &str) {
        let mut state = self.state();
        let node = state.nodes.get_mut(name).unwrap();
        node["state"] = json!("drained");
        node["drain"]["placementsRemaining"] = json!(0);
        node["drain"]["blockedBy"] = json!([]);
    }

    /// Only this token is accepted from now on.
    pub(crate) fn accept_only(&self, token: &str) {
        self.state().token = Some(token.to_owned());
    }

    /// What was asked of `name`, in order.
    pub(crate) fn asked(&self, name: &str) -> Vec<Value> {
        self.state().asked.iter().filter(|(node, _)| node == name).map(|(_, body)| body.clone()).collect()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let bearer = request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let expected = self.state().token.clone();
        if expected.is_some_and(|token| bearer != format!("Bearer {token}")) {
            return failure(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
        }
        let method = request.method().clone();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        match (method, path.strip_prefix("/admin/v1/nodes")) {
            (Method::GET, Some("")) => {
                let nodes: Vec<Value> = self.state().nodes.values().cloned().collect();
                answer(StatusCode::OK, &json!({ "nodes": nodes }))
            }
            (Method::PUT, Some(rest)) => {
                let name = rest.trim_start_matches('/').trim_end_matches("/scheduling");
                self.schedule(name, serde_json::from_slice(&body).unwrap())
            }
            _ => failure(StatusCode::NOT_FOUND, "NOT_FOUND"),
        }
    }

    fn schedule(&self, name: &str, body: Value) -> Response<Full<Bytes>> {
        let mut state = self.state();
        state.asked.push((name.to_owned(), body.clone()));
        let blocked_by = state.blocked_by.clone();
        let Some(node) = state.nodes.get_mut(name) else { return failure(StatusCode::NOT_FOUND, "NOT_FOUND") };
        node["scheduling"] = body["scheduling"].clone();
        node["requestToken"] = body["requestToken"].clone();
        node["reason"] = body["reason"].clone();
        node["state"] = match body["scheduling"].as_str().unwrap() {
            "Drained" => json!("draining"),
            "Cordoned" => json!("cordoned"),
            _ => json!("up"),
        };
        node["drain"] = match body["scheduling"].as_str().unwrap() {
            "Drained" => json!({
                "requestToken": body["requestToken"], "startTime": "2026-01-01T00:00:00Z",
                "heartbeatTime": "2026-01-01T00:00:00Z", "placementsTotal": 2, "placementsRemaining": 2,
                "bytesRemaining": 2048, "blockedBy": blocked_by,
            }),
            _ => Value::Null,
        };
        answer(StatusCode::OK, &node.clone())
    }
}

fn answer(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response
}

fn failure(status: StatusCode, reason: &str) -> Response<Full<Bytes>> {
    answer(status, &json!({ "error": { "reason": reason, "details": "" } }))
}
