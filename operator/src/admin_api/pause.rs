//! The cluster's pause in the admin API: `GET`, `PUT` and `DELETE /admin/v1/maintenance`.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Access, AdminApi, AdminError};

/// The pause as the pinners know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PauseReport {
    /// Whether nothing moves now.
    pub paused: bool,
    /// The pause under way.
    #[serde(flatten)]
    pub current: PauseDetails,
    /// The pause that the watchdog ended, until the next request.
    pub expired: Option<PauseDetails>,
}

/// One pause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PauseDetails {
    /// For people.
    pub reason: Option<String>,
    /// The token that it was asked for with.
    pub request_token: Option<String>,
    /// RFC 3339.
    pub start_time: Option<String>,
    /// RFC 3339.
    pub until_time: Option<String>,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PauseRequest {
    /// When it ends by itself, RFC 3339.
    pub until_time: String,
    /// For people.
    pub reason: String,
    /// Echoed by the pinners.
    pub request_token: String,
}

/// The last answer about a cluster's pause, and when it came.
pub(super) type Answered = (Instant, Result<PauseReport, AdminError>);

impl AdminApi {
    /// A cluster's pause, from an answer that is at most `max_age` old.
    ///
    /// # Errors
    /// When no pinner answers or the answer is a refusal; remembered as well.
    pub async fn pause(&self, access: &Access, max_age: Duration) -> Result<PauseReport, AdminError> {
        let remembered = self.pauses().get(&access.base_url).cloned();
        if let Some((_, result)) = remembered.filter(|(read, _)| read.elapsed() < max_age) {
            return result;
        }
        let url = url(access);
        self.asked(access, self.http.get(&url), &url).await
    }

    /// Pauses a cluster. Asking for the same again changes nothing.
    ///
    /// # Errors
    /// As [`Self::pause`].
    pub async fn begin_pause(&self, access: &Access, request: &PauseRequest) -> Result<PauseReport, AdminError> {
        let url = url(access);
        self.asked(access, self.http.put(&url).json(request), &url).await
    }

    /// Ends a cluster's pause, or forgets the one that ended by itself.
    ///
    /// # Errors
    /// As [`Self::pause`].
    pub async fn end_pause(&self, access: &Access) -> Result<PauseReport, AdminError> {
        let url = url(access);
        self.asked(access, self.http.delete(&url), &url).await
    }

    async fn asked(
        &self,
        access: &Access,
        request: reqwest::RequestBuilder,
        url: &str,
    ) -> Result<PauseReport, AdminError> {
        // The path is of no node.
        let absent = AdminError::Refused { status: 404, details: "the pinners know no maintenance".to_owned() };
        let result = self.send(access, request, url, absent).await;
        self.pauses().insert(access.base_url.clone(), (Instant::now(), result.clone()));
        result
    }

    fn pauses(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<String, Answered>> {
        self.pauses.lock().expect("nothing panics while it holds this lock")
    }
}

fn url(access: &Access) -> String {
    format!("{}/admin/v1/maintenance", access.base_url)
}
