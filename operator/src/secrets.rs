//! Secrets as the operator reads them: by name, one at a time, remembered for a while.
//!
//! The operator may get, create and patch Secrets of its namespace but never list or watch them, so a change by
//! somebody else is noticed when the memory runs out: soon where something is missing, in minutes otherwise.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1;
use kube::{Api, Client};

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

type Remembered = HashMap<(String, String), (Instant, Option<Arc<Content>>)>;

/// Reads Secrets and remembers them.
pub struct SecretReader {
    client: Client,
    remembered: Mutex<Remembered>,
}

impl SecretReader {
    /// A reader that remembers nothing yet.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, remembered: Mutex::default() }
    }

    /// Reads the named Secrets of `namespace`; those that do not exist are left out.
    ///
    /// # Errors
    /// When the API server refuses or cannot be reached.
    pub async fn read(&self, namespace: &str, names: &[String]) -> kube::Result<Secrets> {
        let mut secrets = Secrets::default();
        for name in names {
            if let Some(content) = self.read_one(namespace, name).await? {
                secrets.insert(name.clone(), content);
            }
        }
        Ok(secrets)
    }

    /// Forgets one Secret, because it was written just now or proved to be stale.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.locked().remove(&(namespace.to_owned(), name.to_owned()));
    }

    async fn read_one(&self, namespace: &str, name: &str) -> kube::Result<Option<Arc<Content>>> {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some((read, content)) = self.locked().get(&key) {
            let kept = if content.is_some() { KEPT } else { MISSING_KEPT };
            if read.elapsed() < kept {
                return Ok(content.clone());
            }
        }
        let secret = Api::<v1::Secret>::namespaced(self.client.clone(), namespace).get_opt(name).await?;
        let content = secret.map(|secret| Arc::new(texts(secret)));
        self.locked().insert(key, (Instant::now(), content.clone()));
        Ok(content)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered.lock().expect("nothing panics while it holds this lock")
    }
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
