//! One request, one answer.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::{
    credentials::{Server, Token},
    failure::Failure,
};

/// A server that is there answers this fast even from another continent.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The admin API does nothing that takes longer; what does is a plan or a drain, and goes on after the answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The admin API of one server.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    server: Server,
    token: Token,
}

impl Client {
    pub(super) fn new(server: Server, token: Token) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_WITHIN)
            .timeout(ANSWER_WITHIN)
            .build()
            .map_err(|error| Failure::Failed(format!("make an HTTP client: {error}")))?;
        Ok(Self { http, server, token })
    }

    /// `GET /admin/v1/<path>`.
    pub(super) async fn get(&self, path: &[&str]) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None).await
    }

    /// `POST /admin/v1/<path>`.
    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// `PUT /admin/v1/<path>`.
    pub(super) async fn put(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.ask(Method::PUT, path, Some(body)).await
    }

    /// `DELETE /admin/v1/<path>`.
    pub(super) async fn delete(&self, path: &[&str]) -> Result<Value, Failure> {
        self.ask(Method::DELETE, path, None).await
    }

    /// `PATCH /admin/v1/<path>`.
    pub(super) async fn patch(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    /// The server's success as its own object.
    pub(super) fn understand<T: serde::de::DeserializeOwned>(&self, answer: &Value) -> Result<T, Failure> {
        T::deserialize(answer).map_err(|error| Failure::not_understood(&self.server, &error))
    }

    async fn ask(&self, method: Method, path: &[&str], body: Option<&Value>) -> Result<Value, Failure> {
        let mut url = self.server.url.clone();
        url.path_segments_mut().expect("an http URL has a path").pop_if_empty().extend(["admin", "v1"]).extend(path);
        let mut request = self.http.request(method, url).bearer_auth(self.token.secret.expose());
        if let Some(body) = body {
            request = request.json(body);
        }
        let no_answer = |error| Failure::no_answer(&self.server, &error);
        let answer = request.send().await.map_err(no_answer)?;
        let status = answer.status();
        let text = answer.text().await.map_err(no_answer)?;
        if !status.is_success() {
            return Err(Failure::answered(&self.server, &self.token, status, &text));
        }
        serde_json::from_str(&text).map_err(|error| Failure::not_understood(&self.server, &error))
    }
}
