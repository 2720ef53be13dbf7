//! A client of the HTTP API that holds every answer to the rule on errors and to the service's own description.

use super::described;
use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body as text.
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body, which must come with this status.
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// The reason of an error, after checking that it has the one form that errors have.
    pub(crate) fn reason(&self) -> String {
        assert!(self.status >= 400, "no error: {self:?}");
        assert_eq!(
            self.headers.get("content-type").map(|value| value.as_bytes()),
            Some(&b"application/json"[..]),
            "{self:?}"
        );
        let body = self.json();
        let error = body["error"].as_object().unwrap_or_else(|| panic!("no Failure: {self:?}"));
        assert_eq!((body.as_object().map(serde_json::Map::len), error.len()), (Some(1), 2), "further fields: {self:?}");
        assert!(error["details"].as_str().is_some_and(|details| !details.is_empty()), "{self:?}");
        error["reason"].as_str().expect("a reason is a text").to_owned()
    }
}

/// Checks that an answer is this error and that it names what is wrong; `what` was asked.
pub(crate) fn is(answer: &Answer, status: u16, reason: &str, says: &str, what: &str) {
    assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{what}: {answer:?}");
    assert!(answer.body.contains(says), "{what}: should say {says:?}: {}", answer.body);
}

/// A client with a token, or with none.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

impl Client {
    /// A client of the API at `base`.
    pub(crate) fn new(base: &str, token: Option<&str>) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client without TLS");
        Self { http, base: base.to_owned(), token: token.map(ToOwned::to_owned) }
    }

    /// The same client with another token.
    pub(crate) fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same client with no token.
    pub(crate) fn anonymous(&self) -> Self {
        Self { token: None, ..self.clone() }
    }

    /// The same token at another pinner.
    pub(crate) fn at(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// A request to be changed further.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request. Checks the form of errors; what they are is for the caller.
    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_send(request).await.expect("the service answers")
    }

    /// As [`Self::send`], for when the service may not answer at all.
    pub(crate) async fn try_send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let (http, request) = request.build_split();
        let request = request?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = http.execute(request).await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let answer = Answer { status, headers, body: response.text().await? };
        described::check(&method, &path, status);
        if status >= 400 && !answer.body.starts_with("not ready") && !answer.body.starts_with("[") {
            answer.reason();
        }
        Ok(answer)
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST of JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// DELETE.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Pins a CID and gives the requestid.
    pub(crate) async fn pin(&self, cid: &str) -> String {
        id(&self.post("/pins", &serde_json::json!({ "cid": cid })).await.expect(202))
    }

    /// The status of a pin.
    pub(crate) async fn status(&self, id: &str) -> String {
        let pin = self.get(&format!("/pins/{id}")).await.expect(200);
        pin["status"].as_str().expect("a status is a text").to_owned()
    }

    /// How many pins there are with these statuses.
    pub(crate) async fn count(&self, statuses: &str) -> u64 {
        let page = self.get(&format!("/pins?limit=1&status={statuses}")).await.expect(200);
        page["count"].as_u64().expect("a count is a number")
    }
}

/// The requestid of a pin.
pub(crate) fn id(pin: &Value) -> String {
    pin["requestid"].as_str().unwrap_or_else(|| panic!("no requestid: {pin}")).to_owned()
}

/// Every status, for queries that mean all pins.
pub(crate) const ALL: &str = "queued,pinning,pinned,failed";
