//! Writing: server-side apply of what differs, deletion of what is not wanted any more.
//!
//! Nothing is written for an object that is as desired already. An object of the same name that belongs to somebody else
//! is never taken over.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::DynamicObject;
use kube::{Api, Client, ResourceExt};

use crate::desired::Desired;
use crate::kind::Kind;
use crate::metrics::Metrics;

/// Objects that exist, by kind and name.
pub type Live = BTreeMap<(Kind, String), Arc<DynamicObject>>;

/// Why an object could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An object of that name exists and is not ours.
    #[error("{kind} {name} exists and does not belong to this cluster. Delete or rename it, or give the cluster another name", kind = kind.as_str())]
    NameTaken {
        /// What kind.
        kind: Kind,
        /// Which.
        name: String,
    },
    /// The previous owner was deleted and Kubernetes is still removing its object.
    #[error("{kind} {name} of a deleted predecessor is still being removed", kind = kind.as_str())]
    Leaving {
        /// What kind.
        kind: Kind,
        /// Which.
        name: String,
    },
    /// The API server said no, or did not answer.
    #[error("{verb} {kind} {name}: {source}", kind = kind.as_str())]
    Api {
        /// `apply`, `read` or `delete`.
        verb: &'static str,
        /// What kind.
        kind: Kind,
        /// Which.
        name: String,
        /// The answer.
        #[source]
        source: Box<kube::Error>,
    },
}

impl ApplyError {
    /// The condition reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            ApplyError::NameTaken { .. } => "NameTaken",
            ApplyError::Leaving { .. } => "WaitingForRemoval",
            ApplyError::Api { .. } => "ApplyFailed",
        }
    }
}

/// The objects among `desired` that are missing or differ from `live`, in their order. Pure.
#[must_use]
pub fn changes<'a>(desired: &'a [Desired], live: &Live) -> Vec<&'a Desired> {
    let is_met =
        |object: &Desired| live.get(&(object.kind, object.name.clone())).is_some_and(|live| object.is_met_by(live));
    desired.iter().filter(|object| !is_met(object)).collect()
}

/// Writes objects of one namespace as one field manager.
#[derive(Clone)]
pub struct Applier {
    client: Client,
    namespace: String,
    manager: &'static str,
    metrics: Arc<Metrics>,
}

impl Applier {
    /// An applier for `namespace`; `manager` owns the fields that it writes.
    #[must_use]
    pub fn new(client: Client, namespace: &str, manager: &'static str, metrics: Arc<Metrics>) -> Self {
        Self { client, namespace: namespace.to_owned(), manager, metrics }
    }

    /// Applies one object, unless its name is taken.
    ///
    /// # Errors
    /// See [`ApplyError`].
    pub async fn apply(&self, object: &Desired, live: Option<&DynamicObject>) -> Result<DynamicObject, ApplyError> {
        let failed = |verb| {
            let (kind, name) = (object.kind, object.name.clone());
            move |source: kube::Error| ApplyError::Api { verb, kind, name, source: Box::new(source) }
        };
        let api = self.api(object.kind);
        // Watches see only what carries our label, so a stranger of the same name would not be in memory.
        let found;
        let live = match live {
            Some(live) => Some(live),
            None => {
                found = api.get_opt(&object.name).await.map_err(failed("read"))?;
                found.as_ref()
            }
        };
        if let Some(live) = live {
            check_owner(object, live)?;
        }
        let params = PatchParams::apply(self.manager).force();
        let applied = api.patch(&object.name, &params, &Patch::Apply(&object.body)).await.map_err(failed("apply"))?;
        self.metrics.applied(object.kind);
        tracing::info!(kind = object.kind.as_str(), name = object.name, "applied");
        Ok(applied)
    }

    /// Deletes an object with what depends on it, if it is still the one that was seen.
    ///
    /// # Errors
    /// [`ApplyError::Api`]; an object that is gone or was replaced is no error.
    pub async fn delete(&self, kind: Kind, object: &DynamicObject) -> Result<(), ApplyError> {
        let name = object.name_any();
        let params =
            DeleteParams::background().preconditions(Preconditions { uid: object.uid(), resource_version: None });
        match self.api(kind).delete(&name, &params).await {
            Ok(_) => {
                tracing::info!(kind = kind.as_str(), name, "deleted");
                self.metrics.deleted(kind);
                Ok(())
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(source) => Err(ApplyError::Api { verb: "delete", kind, name, source: Box::new(source) }),
        }
    }

    fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.api())
    }
}

fn check_owner(object: &Desired, live: &DynamicObject) -> Result<(), ApplyError> {
    let (kind, name) = (object.kind, object.name.clone());
    let wanted = &object.body["metadata"]["ownerReferences"][0];
    let controller = live.owner_references().iter().find(|owner| owner.controller == Some(true));
    match controller {
        Some(owner) if wanted["uid"] == owner.uid.as_str() => Ok(()),
        Some(owner) if wanted["kind"] == owner.kind.as_str() && wanted["name"] == owner.name.as_str() => {
            Err(ApplyError::Leaving { kind, name })
        }
        // A PinNode that a user wrote is adopted: its spec names the cluster.
        None if kind == Kind::PinNode => Ok(()),
        _ => Err(ApplyError::NameTaken { kind, name }),
    }
}
