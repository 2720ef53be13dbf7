//! Which optional kinds the API server serves. Asked for now and then: discovery is open to everybody, while watching
//! CRDs would need permissions over the whole cluster.

use std::collections::BTreeSet;

use kube::Client;
use tokio::sync::watch;

use crate::kind::{Kind, OPTIONAL};

/// The optional kinds that are served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served(BTreeSet<Kind>);

impl Served {
    /// A set of kinds.
    #[must_use]
    pub fn these(kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self(kinds.into_iter().collect())
    }

    /// Whether `kind` is served.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        self.0.contains(&kind)
    }
}

/// The latest answer, which others can wait on.
pub struct ServedKinds(watch::Sender<Served>);

impl Default for ServedKinds {
    fn default() -> Self {
        Self(watch::Sender::new(Served::default()))
    }
}

impl ServedKinds {
    /// The latest answer.
    #[must_use]
    pub fn now(&self) -> Served {
        self.0.borrow().clone()
    }

    /// Asks the API server and returns whether the answer is a new one.
    ///
    /// # Errors
    /// When the API server does not answer. A group that is not served is no error.
    pub async fn refresh(&self, client: &Client) -> kube::Result<bool> {
        let mut served = BTreeSet::new();
        for kind in OPTIONAL {
            if is_served(client, kind).await? {
                served.insert(kind);
            }
        }
        let served = Served(served);
        Ok(self.0.send_if_modified(|before| {
            let is_new = *before != served;
            *before = served;
            is_new
        }))
    }
}

async fn is_served(client: &Client, kind: Kind) -> kube::Result<bool> {
    let api = kind.api();
    match client.list_api_group_resources(&api.api_version).await {
        Ok(list) => Ok(list.resources.iter().any(|resource| resource.name == api.plural)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(false),
        Err(error) => Err(error),
    }
}
