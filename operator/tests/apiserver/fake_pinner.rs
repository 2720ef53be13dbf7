//! A stand-in for a cluster's pinners: the part of their admin API that the operator speaks, over real HTTP.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Pinners of one cluster, with what they were asked.
#[derive(Clone)]
pub(crate) struct FakePinner {
    state: Arc<Mutex<State>>,
    /// Whether answers to requests that change something are held back.
    silent: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<String, Value>,
    /// `PUT` bodies by node, in order.
    asked: Vec<(String, Value)>,
    /// What stands in the way of drains.
    blocked_by: Vec<String>,
    /// The cluster's pause, as it is answered.
    maintenance: Value,
    /// What was asked about the pause, in order: the body of each `PUT`, null for each `DELETE`.
    pauses: Vec<Value>,
    /// The token that is accepted.
    token: Option<String>,
}

impl FakePinner {
    /// Starts on a free port; returns the pinners and their address.
    pub(crate) async fn start() -> (Self, String) {
        let state = State { maintenance: json!({ "paused": false }), ..State::default() };
        let pinner = Self { state: Arc::new(Mutex::new(state)), silent: watch::Sender::new(false) };
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

    /// A node registers, as its pinner does at its start: what is known under its name stays as it is.
    pub(crate) fn register(&self, name: &str) {
        let node = json!({
            "id": format!("node_{name}"), "name": name, "zone": "", "live": true, "state": "up", "scheduling": "Active",
            "peerId": format!("12D3{name}"), "kuboReady": true, "placements": { "pinned": 2 },
        });
        self.state().nodes.entry(name.to_owned()).or_insert(node);
    }

    /// So many placements are on `name`.
    pub(crate) fn hold(&self, name: &str, placements: i64) {
        self.state().nodes.get_mut(name).unwrap()["placements"] = json!({ "pinned": placements });
    }

    /// Whether the disk of the Kubo of `name` is full.
    pub(crate) fn fill_disk(&self, name: &str, yes: bool) {
        self.state().nodes.get_mut(name).unwrap()["kuboDiskFull"] = json!(yes);
    }

    /// From now on drains do not get done, because of `why`.
    pub(crate) fn block_drains(&self, why: &str) {
        self.state().blocked_by = vec![why.to_owned()];
    }

    /// Data leaves `name`: so many placements of its drain remain, for as long as said.
    pub(crate) fn progress(&self, name: &str, remaining: i64, expected_completion: &str) {
        let mut state = self.state();
        let drain = &mut state.nodes.get_mut(name).unwrap()["drain"];
        drain["placementsRemaining"] = json!(remaining);
        drain["bytesRemaining"] = json!(remaining * 1024);
        drain["expectedCompletionTime"] = json!(expected_completion);
        drain["blockedBy"] = json!([]);
    }

    /// All data has left `name`.
    pub(crate) fn finish_drain(&self, name: &str) {
        let mut state = self.state();
        let node = state.nodes.get_mut(name).unwrap();
        node["state"] = json!("drained");
        node["placements"] = json!({ "pinned": 0 });
        node["drain"]["placementsRemaining"] = json!(0);
        node["drain"]["bytesRemaining"] = json!(0);
        node["drain"]["expectedCompletionTime"] = Value::Null;
        node["drain"]["blockedBy"] = json!([]);
    }

    /// The pinner of `name` is gone.
    pub(crate) fn die(&self, name: &str) {
        let mut state = self.state();
        let node = state.nodes.get_mut(name).unwrap();
        node["live"] = json!(false);
        if node["scheduling"] != "Drained" {
            node["state"] = json!("down");
        }
    }

    /// Only this token is accepted from now on.
    pub(crate) fn accept_only(&self, token: &str) {
        self.state().token = Some(token.to_owned());
    }

    /// Whether requests that change something are done but not answered.
    pub(crate) fn be_silent(&self, yes: bool) {
        self.silent.send_replace(yes);
    }

    /// What was asked of `name`, in order.
    pub(crate) fn asked(&self, name: &str) -> Vec<Value> {
        self.state().asked.iter().filter(|(node, _)| node == name).map(|(_, body)| body.clone()).collect()
    }

    /// What was asked about the cluster's pause, in order: bodies of `PUT`, null for `DELETE`.
    pub(crate) fn pauses(&self) -> Vec<Value> {
        self.state().pauses.clone()
    }

    /// The cluster's pause.
    pub(crate) fn maintenance(&self) -> Value {
        self.state().maintenance.clone()
    }

    /// The nodes that are being drained.
    pub(crate) fn draining(&self) -> Vec<String> {
        let state = self.state();
        let draining = state.nodes.iter().filter(|(_, node)| node["state"] == "draining");
        draining.map(|(name, _)| name.clone()).collect()
    }

    /// The state of a node, if it has registered.
    pub(crate) fn state_of(&self, name: &str) -> Option<String> {
        Some(self.state().nodes.get(name)?["state"].as_str().unwrap().to_owned())
    }

    /// What is asked of a node that has registered.
    pub(crate) fn scheduling(&self, name: &str) -> String {
        self.state().nodes[name]["scheduling"].as_str().unwrap().to_owned()
    }

    /// Somebody else pauses, as `anchorage admin maintenance on` does.
    pub(crate) fn pause_by_hand(&self, reason: &str) {
        self.state().maintenance = json!({
            "paused": true, "reason": reason, "startTime": "2026-01-01T00:00:00Z", "untilTime": "2999-01-01T00:00:00Z",
        });
    }

    /// The pause outlives its end and is ended by the watchdog.
    pub(crate) fn expire_pause(&self) {
        let mut state = self.state();
        let mut expired = state.maintenance.clone();
        expired.as_object_mut().unwrap().remove("paused");
        state.maintenance = json!({ "paused": false, "expired": expired });
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
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
        let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        let answer = match path.strip_prefix("/admin/v1/").unwrap_or_default() {
            "maintenance" => self.pause(&method, body),
            "nodes" => Some(self.nodes()),
            path => path
                .strip_prefix("nodes/")
                .and_then(|path| path.strip_suffix("/scheduling"))
                .filter(|_| method == Method::PUT)
                .map(|name| self.schedule(name, &body)),
        };
        if method != Method::GET {
            // Its sender lives as long as `self`.
            let _ = self.silent.subscribe().wait_for(|silent| !silent).await;
        }
        answer.unwrap_or_else(|| failure(StatusCode::NOT_FOUND, "NOT_FOUND"))
    }

    fn nodes(&self) -> Response<Full<Bytes>> {
        let state = self.state();
        let nodes: Vec<Value> = state.nodes.values().map(|node| state.as_it_is(node)).collect();
        answer(StatusCode::OK, &json!({ "nodes": nodes }))
    }

    fn pause(&self, method: &Method, body: Value) -> Option<Response<Full<Bytes>>> {
        let mut state = self.state();
        match *method {
            Method::GET => {}
            Method::PUT => {
                let until: Timestamp = body["untilTime"].as_str().unwrap().parse().unwrap();
                if until.duration_since(Timestamp::now()) > SignedDuration::from_hours(30 * 24) {
                    let error = json!({ "reason": "BAD_REQUEST", "details": "untilTime is more than 30 days away" });
                    return Some(answer(StatusCode::BAD_REQUEST, &json!({ "error": error })));
                }
                state.maintenance = json!({
                    "paused": true, "startTime": "2026-01-01T00:00:00Z", "untilTime": body["untilTime"],
                    "reason": body["reason"], "requestToken": body["requestToken"],
                });
                state.pauses.push(body);
            }
            Method::DELETE => {
                state.maintenance = json!({ "paused": false });
                state.pauses.push(Value::Null);
            }
            _ => return None,
        }
        Some(answer(StatusCode::OK, &state.maintenance))
    }

    fn schedule(&self, name: &str, body: &Value) -> Response<Full<Bytes>> {
        let mut state = self.state();
        state.asked.push((name.to_owned(), body.clone()));
        let blocked_by = state.blocked_by.clone();
        let Some(node) = state.nodes.get_mut(name) else { return failure(StatusCode::NOT_FOUND, "NOT_FOUND") };
        let is_new = node["scheduling"] != body["scheduling"];
        node["scheduling"] = body["scheduling"].clone();
        node["requestToken"] = body["requestToken"].clone();
        node["reason"] = body["reason"].clone();
        let scheduling = body["scheduling"].as_str().unwrap();
        if is_new {
            node["state"] = match scheduling {
                "Drained" => json!("draining"),
                "Cordoned" => json!("cordoned"),
                "Maintenance" => json!("maintenance"),
                "Active" => json!("up"),
                _ => return failure(StatusCode::BAD_REQUEST, "INVALID"),
            };
            let placements = node["placements"]["pinned"].as_i64().unwrap();
            node["drain"] = match scheduling {
                "Drained" => json!({
                    "startTime": "2026-01-01T00:00:00Z", "placementsTotal": placements, "placementsRemaining": placements,
                    "bytesRemaining": placements * 1024, "blockedBy": blocked_by,
                }),
                _ => Value::Null,
            };
        }
        if scheduling == "Drained" {
            node["drain"]["requestToken"] = body["requestToken"].clone();
        }
        let node = node.clone();
        answer(StatusCode::OK, &state.as_it_is(&node))
    }
}

impl State {
    /// A node as it is answered: drains tell when they were looked at, and wait during a pause.
    fn as_it_is(&self, node: &Value) -> Value {
        let mut node = node.clone();
        if node["drain"].is_object() {
            node["drain"]["heartbeatTime"] = json!(Timestamp::now().to_string());
        }
        if node["state"] == "draining" && self.maintenance["paused"] == true {
            node["drain"]["blockedBy"] = json!(["the cluster is in maintenance"]);
        }
        node
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
