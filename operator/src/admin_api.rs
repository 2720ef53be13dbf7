//! The pinners' admin API, as far as the operator speaks it: the same calls that `anchorage admin` makes.
//!
//! Answers about nodes are remembered per cluster, so that however many PinNodes ask, one request is made at a time.

pub mod pause;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::crd::Scheduling;
use crate::secrets::Text;

/// A request takes at most this long: a PinNode's status must not wait for a pinner that hangs.
const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A node as the pinners know it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeReport {
    /// `node_…`
    pub id: String,
    /// The PinNode's name.
    pub name: String,
    /// Whether its pinner was heard of lately.
    pub live: bool,
    /// `up`, `cordoned`, `draining`, `drained`, `maintenance` or `down`.
    pub state: String,
    /// What was asked of it: `Active`, `Cordoned`, `Drained` or `Maintenance`.
    pub scheduling: String,
    /// The token that came with that.
    pub request_token: Option<String>,
    /// The reason that came with that.
    pub reason: Option<String>,
    /// Its Kubo's identity.
    pub peer_id: Option<String>,
    /// Whether its pinner reaches its Kubo.
    pub kubo_ready: bool,
    /// Whether the disk of its Kubo is full.
    pub kubo_disk_full: bool,
    /// The drain under way.
    pub drain: Option<DrainReport>,
    /// Placements by status.
    pub placements: BTreeMap<String, i64>,
}

/// How far a drain has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DrainReport {
    /// The token it was asked for with.
    pub request_token: Option<String>,
    /// RFC 3339.
    pub start_time: Option<String>,
    /// RFC 3339.
    pub heartbeat_time: Option<String>,
    /// RFC 3339.
    pub expected_completion_time: Option<String>,
    /// At the beginning.
    pub placements_total: Option<i64>,
    /// Now.
    pub placements_remaining: Option<i64>,
    /// Now.
    pub bytes_remaining: Option<i64>,
    /// Why it does not go on.
    pub blocked_by: Vec<String>,
}

impl NodeReport {
    /// The reason as the end of a sentence; empty without one.
    #[must_use]
    pub fn reason_text(&self) -> String {
        self.reason
            .as_deref()
            .filter(|reason| !reason.is_empty())
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default()
    }
}

/// What is asked of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchedulingRequest {
    /// The state it should come to.
    pub scheduling: Scheduling,
    /// Echoed by the pinners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_token: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Why the admin API did not help. Messages are for conditions: they never hold the token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// No pinner answered.
    #[error("no pinner of the cluster answers at {url}: {problem}")]
    Unreachable {
        /// Where.
        url: String,
        /// What happened.
        problem: String,
    },
    /// The token is not accepted.
    #[error(
        "the pinners refuse the token of Secret {secret}. Pinners read it at their start: delete their pods so that they read it again"
    )]
    Unauthorized {
        /// The Secret with the token.
        secret: String,
    },
    /// No node of that name has ever registered.
    #[error("the pinner of this node has not registered yet")]
    NotRegistered,
    /// Any other refusal.
    #[error("the admin API answered {status}: {details}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The answer's own words.
        details: String,
    },
}

/// Where a cluster's admin API is and how to be let in.
#[derive(Clone, Debug)]
pub struct Access {
    /// Begins the paths, without a slash at the end.
    pub base_url: String,
    /// The Secret that the token is from, for messages.
    pub secret: String,
    /// The token.
    pub token: Text,
}

type Nodes = Arc<BTreeMap<String, NodeReport>>;

#[derive(Default)]
struct Remembered {
    read: Option<(Instant, Result<Nodes, AdminError>)>,
}

/// Speaks to the admin APIs of all clusters.
pub struct AdminApi {
    http: reqwest::Client,
    remembered: Mutex<HashMap<String, Arc<tokio::sync::Mutex<Remembered>>>>,
    pauses: Mutex<HashMap<String, pause::Answered>>,
}

impl AdminApi {
    /// A client that has asked nothing yet.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new() -> reqwest::Result<Self> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).connect_timeout(CONNECT_TIMEOUT).no_proxy().build()?;
        Ok(Self { http, remembered: Mutex::default(), pauses: Mutex::default() })
    }

    /// The nodes of a cluster by name, from an answer that is at most `max_age` old.
    ///
    /// # Errors
    /// When no pinner answers or the answer is a refusal. Errors are remembered as well, so that an unreachable cluster
    /// costs one timeout and not one per PinNode.
    pub async fn nodes(&self, access: &Access, max_age: Duration) -> Result<Nodes, AdminError> {
        let entry = self.entry(access);
        let mut entry = entry.lock().await;
        if let Some((_, result)) = entry.read.as_ref().filter(|(read, _)| read.elapsed() < max_age) {
            return result.clone();
        }
        let result = self.list(access).await.map(Arc::new);
        entry.read = Some((Instant::now(), result.clone()));
        result
    }

    /// Asks for a state of one node and returns the node as it is then.
    ///
    /// # Errors
    /// As [`Self::nodes`]; [`AdminError::NotRegistered`] for a node that has never started.
    pub async fn schedule(
        &self,
        access: &Access,
        node: &str,
        request: &SchedulingRequest,
    ) -> Result<NodeReport, AdminError> {
        let url = format!("{}/admin/v1/nodes/{node}/scheduling", access.base_url);
        let request = self.http.put(&url).json(request);
        let report: NodeReport = self.send(access, request, &url, AdminError::NotRegistered).await?;
        self.remember(access, &report).await;
        Ok(report)
    }

    async fn list(&self, access: &Access) -> Result<BTreeMap<String, NodeReport>, AdminError> {
        #[derive(Deserialize)]
        struct List {
            nodes: Vec<NodeReport>,
        }
        let url = format!("{}/admin/v1/nodes", access.base_url);
        let list: List = self.send(access, self.http.get(&url), &url, AdminError::NotRegistered).await?;
        Ok(list.nodes.into_iter().map(|node| (node.name.clone(), node)).collect())
    }

    /// Sends a request; `absent` is what an answer of 404 means.
    async fn send<T: serde::de::DeserializeOwned>(
        &self,
        access: &Access,
        request: reqwest::RequestBuilder,
        url: &str,
        absent: AdminError,
    ) -> Result<T, AdminError> {
        let unreachable =
            |error: reqwest::Error| AdminError::Unreachable { url: url.to_owned(), problem: innermost(&error) };
        let response = request.bearer_auth(access.token.expose()).send().await.map_err(unreachable)?;
        let status = response.status();
        match status.as_u16() {
            200..=299 => response.json().await.map_err(unreachable),
            401 | 403 => Err(AdminError::Unauthorized { secret: access.secret.clone() }),
            404 => Err(absent),
            502..=504 => {
                Err(AdminError::Unreachable { url: url.to_owned(), problem: format!("the answer was {status}") })
            }
            _ => {
                let body = response.text().await.unwrap_or_default();
                Err(AdminError::Refused { status: status.as_u16(), details: details(&body) })
            }
        }
    }

    /// Puts a fresher report about one node into what is remembered.
    async fn remember(&self, access: &Access, report: &NodeReport) {
        let entry = self.entry(access);
        let mut entry = entry.lock().await;
        if let Some((_, Ok(nodes))) = &mut entry.read {
            Arc::make_mut(nodes).insert(report.name.clone(), report.clone());
        }
    }

    fn entry(&self, access: &Access) -> Arc<tokio::sync::Mutex<Remembered>> {
        let mut remembered = self.remembered.lock().expect("nothing panics while it holds this lock");
        remembered.entry(access.base_url.clone()).or_default().clone()
    }
}

/// The error at the bottom of the chain: "connection refused" says more than "error sending request".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// The details of a Failure object, else the beginning of the body.
fn details(body: &str) -> String {
    let failure: Option<String> = serde_json::from_str::<serde_json::Value>(body)
        .ok()
        .and_then(|failure| failure.pointer("/error/details")?.as_str().map(str::to_owned));
    failure.unwrap_or_else(|| body.chars().take(200).collect())
}
