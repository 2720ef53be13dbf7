//! Secrets as the operator reads them: by name, one at a time, remembered for a while.
//!
//! The operator may get, create and patch Secrets of its namespace but never list or watch them, so a change by
//! somebody else is noticed when the memory runs out: soon where something is missing, in minutes otherwise.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1;
use kube::{Api, Client, ResourceExt};

/// How long the content of a Secret is believed.
pub const KEPT: Duration = Duration::from_secs(300);
/// How long its absence is believed.
pub const MISSING_KEPT: Duration = Duration::from_secs(4);

/// A secret text. It is only shown on purpose.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// The texts in one Secret, by key. Values that are empty or no UTF-8 are left out.
pub type Content = BTreeMap<String, Text>;

/// Secrets that exist, by name.
#[derive(Clone, Debug, Default)]
pub struct Secrets(BTreeMap<String, Arc<Content>>);

impl Secrets {
    /// The content of the Secret `name`, if it exists.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Content> {
        self.0.get(name).map(Arc::as_ref)
    }

    /// One value.
    #[must_use]
    pub fn value(&self, name: &str, key: &str) -> Option<&Text> {
        self.get(name)?.get(key)
    }

    /// Adds or replaces a Secret.
    pub fn insert(&mut self, name: impl Into<String>, content: Arc<Content>) {
        self.0.insert(name.into(), content);
    }
}

/// By the uid of the cluster that asks, and the Secret's name: a cluster that was deleted and made again must not be told
/// what its predecessor's Secrets held.
type Remembered = HashMap<(String, String), (Instant, Option<Arc<Content>>)>;

/// Reads Secrets of one namespace and remembers them.
pub struct SecretReader {
    secrets: Api<v1::Secret>,
    remembered: Mutex<Remembered>,
}

impl SecretReader {
    /// A reader that remembers nothing yet.
    #[must_use]
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { secrets: Api::namespaced(client, namespace), remembered: Mutex::default() }
    }

    /// Reads what a cluster needs: Secrets that users made for it, and those that belong to it. Secrets that do not exist
    /// are left out, and so is one that should belong to the cluster and belongs to another owner.
    ///
    /// # Errors
    /// When the API server refuses or cannot be reached.
    pub async fn read(&self, cluster_uid: &str, users: &[String], own: &[String]) -> kube::Result<Secrets> {
        let mut secrets = Secrets::default();
        for (names, owner) in [(users, None), (own, Some(cluster_uid))] {
            for name in names {
                if let Some(content) = self.read_one(cluster_uid, name, owner).await? {
                    secrets.insert(name.clone(), content);
                }
            }
        }
        Ok(secrets)
    }

    /// Forgets one Secret of a cluster, because it was written just now or proved to be stale.
    pub fn forget(&self, cluster_uid: &str, name: &str) {
        self.locked().remove(&(cluster_uid.to_owned(), name.to_owned()));
    }

    async fn read_one(&self, uid: &str, name: &str, owner: Option<&str>) -> kube::Result<Option<Arc<Content>>> {
        let key = (uid.to_owned(), name.to_owned());
        if let Some((_, content)) = self.locked().get(&key).filter(|remembered| is_fresh(remembered)) {
            return Ok(content.clone());
        }
        let is_ours = |secret: &v1::Secret| {
            owner.is_none_or(|uid| secret.owner_references().iter().any(|owner| owner.uid == uid))
        };
        let secret = self.secrets.get_opt(name).await?.filter(is_ours);
        let content = secret.map(|secret| Arc::new(texts(secret)));
        let mut remembered = self.locked();
        remembered.retain(|_, remembered| is_fresh(remembered));
        remembered.insert(key, (Instant::now(), content.clone()));
        Ok(content)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered.lock().expect("nothing panics while it holds this lock")
    }
}

fn is_fresh((read, content): &(Instant, Option<Arc<Content>>)) -> bool {
    read.elapsed() < if content.is_some() { KEPT } else { MISSING_KEPT }
}

fn texts(secret: v1::Secret) -> Content {
    secret
        .data
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(key, value)| Some((key, Text::new(String::from_utf8(value.0).ok()?))))
        .filter(|(_, text)| !text.expose().trim().is_empty())
        .collect()
}
