//! What both controllers share: clients, memory, counters, and the few writes that are the same for both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client, Resource};
use rand::RngExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::admin_api::{Access, AdminApi};
use crate::apply::ApplyError;
use crate::conditions;
use crate::metrics::{Controller, Metrics};
use crate::names;
use crate::pin_node::rollout::Rollouts;
use crate::secrets::{SecretReader, Secrets};
use crate::served::ServedKinds;
use crate::world::World;

/// Shared by all reconciliations.
pub struct Context {
    /// Writes to the API server, and reads Secrets.
    pub client: Client,
    /// What the watches know.
    pub world: Arc<World>,
    /// Secrets, read by name.
    pub secrets: SecretReader,
    /// Optional kinds that the API server serves.
    pub served: Arc<ServedKinds>,
    /// The pinners' admin APIs.
    pub admin: AdminApi,
    /// Begins the address of a cluster's admin API; `{cluster}` and `{namespace}` stand for the names.
    pub admin_url: String,
    /// Image of pinners where a cluster names none.
    pub default_image: String,
    /// Whose turn it is to be replaced, per cluster.
    pub rollouts: Rollouts,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Tells people.
    pub recorder: Recorder,
    /// Failures in a row per object, for the back-off.
    pub failures: Failures,
}

/// Why a reconciliation did not come to its end. It is tried again, later and later.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// Reading, or writing a status.
    #[error("{0}")]
    Kube(#[from] kube::Error),
    /// Writing an object.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// It took longer than any of its steps should.
    #[error("no end within {0:?}")]
    Timeout(Duration),
}

impl Context {
    /// How to reach the admin API of a cluster, once its token exists.
    #[must_use]
    pub fn access(&self, cluster: &str, secrets: &Secrets) -> Option<Access> {
        let secret = names::admin_secret(cluster);
        let token = secrets.value(&secret, "token")?.clone();
        let base_url = self.admin_url.replace("{cluster}", cluster).replace("{namespace}", &self.world.namespace);
        Some(Access { base_url, secret, token })
    }

    /// Writes the status of an object as this operator's own. Where `seen` names a resource version, only if the object
    /// has not changed since then.
    ///
    /// # Errors
    /// As the API server answers: 409 for an object that has changed.
    pub async fn write_status<K>(
        &self,
        controller: Controller,
        name: &str,
        seen: Option<&str>,
        status: &impl Serialize,
    ) -> kube::Result<()>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.world.namespace);
        let type_ = K::DynamicType::default();
        let mut patch = json!({ "apiVersion": K::api_version(&type_), "kind": K::kind(&type_), "status": status });
        if let Some(seen) = seen {
            patch["metadata"] = json!({ "resourceVersion": seen });
        }
        let manager = format!("anchorage-operator/{}-status", controller.as_str());
        let params = PatchParams::apply(&manager).force();
        match api.patch_status(name, &params, &Patch::Apply(&patch)).await {
            // Server-side apply would create the object, but not through its status: one that is gone stays gone.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error),
            Ok(_) => {
                self.metrics.status_written(controller);
                Ok(())
            }
        }
    }

    /// Publishes an Event for each condition whose reason is new.
    pub async fn tell<K>(&self, object: &K, before: &[Condition], after: &[Condition])
    where
        K: Resource,
        K::DynamicType: Default,
    {
        let reference = object.object_ref(&K::DynamicType::default());
        for condition in conditions::news(before, after) {
            let event = Event {
                type_: if conditions::is_good(condition) { EventType::Normal } else { EventType::Warning },
                reason: condition.reason.clone(),
                note: Some(conditions::note(condition)),
                action: condition.type_.clone(),
                secondary: None,
            };
            if let Err(error) = self.recorder.publish(&event, &reference).await {
                tracing::warn!(error = %crate::health::describe(&error), "event not published");
            }
        }
    }
}

/// Failures in a row, by `kind/name`.
#[derive(Default)]
pub struct Failures(Mutex<HashMap<String, u32>>);

impl Failures {
    /// One more failure of `object`; how long to wait before the next try.
    pub fn another(&self, object: &str) -> Duration {
        let mut failures = self.locked();
        let count = failures.entry(object.to_owned()).or_insert(0);
        *count += 1;
        backoff(*count, rand::rng().random_range(0.0..1.0))
    }

    /// `object` came through.
    pub fn none(&self, object: &str) {
        self.locked().remove(object);
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<String, u32>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

/// One second, doubled with every failure up to two minutes, half of it by `chance` (0 to 1) so that many objects do not
/// come back at once.
#[must_use]
pub fn backoff(failures: u32, chance: f64) -> Duration {
    let seconds = 2_f64.powi(i32::try_from(failures.clamp(1, 8)).unwrap_or(8) - 1).min(120.0);
    Duration::from_secs_f64(seconds * (0.5 + 0.5 * chance))
}

/// 32 random bytes as 64 hexadecimal digits.
#[must_use]
pub fn fresh_secret() -> String {
    let bytes: [u8; 32] = rand::rng().random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_grows_to_two_minutes() {
        let longest: Vec<u64> = (1..12).map(|failures| backoff(failures, 1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 8, 16, 32, 64, 120, 120, 120, 120]);
        assert_eq!(backoff(1, 0.0), Duration::from_millis(500));
    }

    #[test]
    fn fresh_secrets_differ() {
        assert_ne!(fresh_secret(), fresh_secret());
        assert_eq!(fresh_secret().len(), 64);
    }
}
