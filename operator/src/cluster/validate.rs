//! From what a user wrote to what can be built: every default filled in, every contradiction refused with its cure.
//!
//! The schema's own rules are checked again where builders rely on them, since an older CRD may be installed.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

use crate::crd::anchorage_cluster::{
    AnchorageCluster, HttpRouteSpec, IngressSpec, KuboSpec, ManagedNats, ManagedPostgres, NatsSpec, Network,
    PodMonitorSpec, PostgresSpec, RebalanceSpec, Replication, VolumeClaimDeletePolicy,
};
use crate::crd::shared::Resources;
use crate::database_url::DatabaseUrl;
use crate::names;
use crate::quantity;
use crate::secrets::{Secrets, Text};

/// A cluster that can be built.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Its name, which begins the names of all its objects.
    pub name: String,
    /// Its namespace, the only one that is touched for it.
    pub namespace: String,
    /// Reference that makes Kubernetes delete the cluster's objects with it.
    pub owner: OwnerReference,
    /// Number of PinNodes.
    pub nodes: usize,
    /// Image of pinners and migrations.
    pub image: String,
    /// Number of copies.
    pub replication: Replication,
    /// How data moves by itself; without it the pinners' own defaults.
    pub rebalance: Option<RebalanceSpec>,
    /// Label of Kubernetes Nodes that tells zones apart.
    pub topology_key: String,
    /// CPU and memory of a pinner.
    pub resources: Resources,
    /// The Kubos.
    pub kubo: KuboSpec,
    /// The database.
    pub database: Database,
    /// The message system.
    pub nats: Nats,
    /// Copies of streams and buckets.
    pub stream_replicas: i32,
    /// An Ingress, if asked for.
    pub ingress: Option<IngressSpec>,
    /// An HTTPRoute, if asked for.
    pub http_route: Option<HttpRouteSpec>,
    /// A PodMonitor, if asked for.
    pub pod_monitor: Option<PodMonitorSpec>,
    /// Who may read metrics; without it the pinner's own default.
    pub metrics_allow_cidrs: Option<Vec<String>>,
    /// Whether volumes go with what they belong to.
    pub delete_volumes: bool,
}

/// Where the truth is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A Postgres that exists already.
    External {
        /// Secret with the URL.
        secret_name: String,
        /// That URL.
        url: DatabaseUrl,
    },
    /// A Postgres that the operator runs.
    Managed(ManagedPostgres),
}

/// Where messages go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nats {
    /// A NATS that exists already.
    External {
        /// Its URL, without credentials.
        url: String,
        /// Secret with a credentials file.
        credentials_secret_name: Option<String>,
    },
    /// A NATS that the operator runs.
    Managed(ManagedNats),
}

/// Why a cluster cannot be built as it is written. What runs already keeps running.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A field whose behaviour this version does not have.
    #[error("{field} is not supported in this version. {cure}")]
    NotSupported {
        /// The field.
        field: &'static str,
        /// What to do instead.
        cure: &'static str,
    },
    /// A value that contradicts another or cannot be.
    #[error("{0}")]
    Invalid(String),
    /// A Secret that the spec names does not exist.
    #[error("Secret {name} does not exist in the cluster's namespace. Create it with the key {key}; {field} names it")]
    SecretMissing {
        /// The Secret's name.
        name: String,
        /// The key that it must have.
        key: &'static str,
        /// The field that names it.
        field: &'static str,
    },
    /// A Secret whose content cannot be used.
    #[error("Secret {name}: {problem}; {field} names it")]
    SecretInvalid {
        /// The Secret's name.
        name: String,
        /// What is wrong; never the content.
        problem: String,
        /// The field that names it.
        field: &'static str,
    },
}

impl Refusal {
    /// The condition reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::NotSupported { .. } => "NotSupported",
            Refusal::Invalid(_) => "InvalidSpec",
            Refusal::SecretMissing { .. } => "SecretMissing",
            Refusal::SecretInvalid { .. } => "SecretInvalid",
        }
    }

    /// Whether waiting may help, because the cause lies outside of the cluster object and is not watched.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        matches!(self, Refusal::SecretMissing { .. } | Refusal::SecretInvalid { .. })
    }

    /// The spec field at fault, for those refusals that are about one.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        match self {
            Refusal::NotSupported { field, .. }
            | Refusal::SecretMissing { field, .. }
            | Refusal::SecretInvalid { field, .. } => Some(field),
            Refusal::Invalid(_) => None,
        }
    }
}

/// Names of the Secrets that users write and `spec` refers to.
#[must_use]
pub fn referenced_secrets(object: &AnchorageCluster) -> Vec<String> {
    let spec = &object.spec;
    [&spec.postgres.secret_name, &spec.nats.credentials_secret_name, &spec.kubo.swarm_key_secret_name]
        .into_iter()
        .flatten()
        .cloned()
        .collect()
}

/// Judges `object` with the Secrets that it refers to. `default_image` is used where `spec.image` is not set.
///
/// # Errors
/// The first thing that is wrong, with its cure.
pub fn validate(object: &AnchorageCluster, secrets: &Secrets, default_image: &str) -> Result<Cluster, Refusal> {
    let spec = &object.spec;
    refuse_unsupported(object)?;
    let nodes = usize::try_from(spec.nodes).ok().filter(|nodes| *nodes > 0).ok_or_else(|| {
        Refusal::Invalid(
            "nodes must be at least 1. To stop a cluster without losing data, delete it: volumes are retained"
                .to_owned(),
        )
    })?;
    check_config_patch(&spec.kubo)?;
    check_storage("kubo.storage.size", &spec.kubo.storage.size)?;
    if spec.kubo.swarm_key_secret_name.is_some() && spec.kubo.network == Network::Public {
        return Err(Refusal::Invalid(
            "kubo.swarmKeySecretName is for network: Private only. Remove it or set network: Private".to_owned(),
        ));
    }
    if let Some(name) = &spec.kubo.swarm_key_secret_name {
        let key = required(secrets, name, "swarm.key", "kubo.swarmKeySecretName")?;
        if !key.expose().starts_with("/key/swarm/psk/1.0.0/") {
            return Err(Refusal::SecretInvalid {
                name: name.clone(),
                problem: "its key swarm.key does not begin with /key/swarm/psk/1.0.0/".to_owned(),
                field: "kubo.swarmKeySecretName",
            });
        }
    }
    let (nats, stream_replicas) = nats(&spec.nats, secrets)?;
    let metrics = spec.metrics.clone().unwrap_or_default();
    let api = spec.api.clone().unwrap_or_default();
    Ok(Cluster {
        name: object.name_any(),
        namespace: object.namespace().unwrap_or_default(),
        owner: object
            .controller_owner_ref(&())
            .ok_or_else(|| Refusal::Invalid("the object has no uid: it was not read from an API server".to_owned()))?,
        nodes,
        image: spec.image.clone().unwrap_or_else(|| default_image.to_owned()),
        replication: replication(spec.replication, nodes)?,
        rebalance: spec.rebalance.clone(),
        topology_key: spec.topology_key.clone(),
        resources: spec.resources.clone().unwrap_or_default(),
        kubo: spec.kubo.clone(),
        database: database(&spec.postgres, secrets)?,
        nats,
        stream_replicas,
        ingress: api.ingress,
        http_route: api.http_route,
        pod_monitor: metrics.pod_monitor.filter(|pod_monitor| pod_monitor.enabled),
        metrics_allow_cidrs: metrics.allow_cidrs,
        delete_volumes: spec.volume_claim_delete_policy == VolumeClaimDeletePolicy::Delete,
    })
}

fn refuse_unsupported(object: &AnchorageCluster) -> Result<(), Refusal> {
    let spec = &object.spec;
    let api = spec.api.clone().unwrap_or_default();
    let refused = [
        (spec.oidc.is_some(), "oidc", "Remove it; mint API tokens with `anchorage admin mint-token`"),
        (api.rate_limits.is_some(), "api.rateLimits", "Remove it; the built-in limits apply"),
        (
            api.trusted_proxies.is_some_and(|proxies| !proxies.is_empty()),
            "api.trustedProxies",
            "Remove it; client addresses are those that the pinner sees",
        ),
        (
            spec.tokens.as_ref().is_some_and(|tokens| tokens.rotation_days.is_some()),
            "tokens.rotationDays",
            "Remove it; signing keys do not change by themselves yet",
        ),
    ];
    match refused.into_iter().find(|(is_set, ..)| *is_set) {
        Some((_, field, cure)) => Err(Refusal::NotSupported { field, cure }),
        None => Ok(()),
    }
}

fn replication(wanted: Option<Replication>, nodes: usize) -> Result<Replication, Refusal> {
    let nodes = i32::try_from(nodes).unwrap_or(i32::MAX);
    let replication = wanted.unwrap_or(Replication { min: nodes.min(2), max: nodes.min(2) });
    if replication.min < 1 || replication.min > replication.max || replication.max > 9 || replication.max > nodes {
        return Err(Refusal::Invalid(format!(
            "replication must satisfy 1 <= min <= max <= 9 and max <= nodes, but is min {}, max {} on {nodes} nodes",
            replication.min, replication.max
        )));
    }
    Ok(replication)
}

fn database(spec: &PostgresSpec, secrets: &Secrets) -> Result<Database, Refusal> {
    const FIELD: &str = "postgres.secretName";
    match (&spec.secret_name, &spec.managed) {
        (Some(name), None) => {
            let text = required(secrets, name, "url", FIELD)?;
            let url = DatabaseUrl::parse(text.expose()).map_err(|error| Refusal::SecretInvalid {
                name: name.clone(),
                problem: format!("its key url is no Postgres URL: {error}"),
                field: FIELD,
            })?;
            Ok(Database::External { secret_name: name.clone(), url })
        }
        (None, Some(managed)) => {
            check_storage("postgres.managed.storage.size", &managed.storage.size)?;
            Ok(Database::Managed(managed.clone()))
        }
        _ => Err(Refusal::Invalid("set exactly one of postgres.secretName and postgres.managed".to_owned())),
    }
}

fn nats(spec: &NatsSpec, secrets: &Secrets) -> Result<(Nats, i32), Refusal> {
    match (&spec.url, &spec.managed) {
        (Some(url), None) => {
            if let Some(name) = &spec.credentials_secret_name {
                required(secrets, name, "nats.creds", "nats.credentialsSecretName")?;
            }
            let nats =
                Nats::External { url: url.clone(), credentials_secret_name: spec.credentials_secret_name.clone() };
            Ok((nats, spec.stream_replicas.unwrap_or(1)))
        }
        (None, Some(managed)) => {
            check_storage("nats.managed.storage.size", &managed.storage.size)?;
            let replicas = spec.stream_replicas.unwrap_or(managed.replicas.min(3));
            if replicas > managed.replicas {
                return Err(Refusal::Invalid(format!(
                    "nats.streamReplicas is {replicas} but there are {} NATS servers. Raise nats.managed.replicas or lower it",
                    managed.replicas
                )));
            }
            Ok((Nats::Managed(managed.clone()), replicas))
        }
        _ => Err(Refusal::Invalid("set exactly one of nats.url and nats.managed".to_owned())),
    }
}

fn required<'a>(secrets: &'a Secrets, name: &str, key: &'static str, field: &'static str) -> Result<&'a Text, Refusal> {
    let content = secrets.get(name).ok_or_else(|| Refusal::SecretMissing { name: name.to_owned(), key, field })?;
    content.get(key).ok_or_else(|| Refusal::SecretInvalid {
        name: name.to_owned(),
        problem: format!("it has no key {key}, or its value is empty or no text"),
        field,
    })
}

fn check_storage(field: &str, size: &str) -> Result<(), Refusal> {
    const SMALLEST: u128 = 16 * 1024 * 1024;
    match quantity::units(size) {
        Some(bytes) if bytes >= SMALLEST => Ok(()),
        _ => Err(Refusal::Invalid(format!("{field} is {size:?}; write a size of at least 16Mi, such as 10Gi"))),
    }
}

/// Settings that the operator's own rest on: with them changed, Kubo would be open to the network, lose its identity or
/// leave its private swarm.
fn check_config_patch(kubo: &KuboSpec) -> Result<(), Refusal> {
    const ALWAYS: [&str; 4] = ["Addresses.API", "API", "Identity", "Datastore.Spec"];
    const PRIVATE: [&str; 5] = ["Bootstrap", "Routing", "Discovery", "AutoConf", "AutoTLS"];
    let private: &[&str] = if kubo.network == Network::Private { &PRIVATE } else { &[] };
    for key in kubo.config_patch.keys() {
        let well_formed = key.split('.').all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.chars().all(|c| c.is_ascii_alphanumeric())
        });
        if !well_formed {
            return Err(Refusal::Invalid(format!(
                "kubo.configPatch has the key {key:?}; keys are dotted names such as Swarm.ConnMgr.HighWater"
            )));
        }
        let touches = |owned: &&str| is_within(key, owned) || is_within(owned, key);
        if let Some(owned) = ALWAYS.iter().chain(private).find(|owned| touches(owned)) {
            return Err(Refusal::Invalid(format!(
                "kubo.configPatch sets {key}, but {owned} belongs to the operator. Remove that key"
            )));
        }
    }
    Ok(())
}

/// Whether the dotted `key` is `outer` or lies below it.
fn is_within(key: &str, outer: &str) -> bool {
    key.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl Cluster {
    /// Labels of an object of `component`.
    #[must_use]
    pub fn labels(&self, component: names::Component) -> BTreeMap<String, String> {
        names::labels(&self.name, component)
    }

    /// Name of the Secret with the swarm key, on a Private network.
    #[must_use]
    pub fn swarm_key_secret(&self) -> Option<String> {
        let generated = || names::swarm_key_secret(&self.name);
        (self.kubo.network == Network::Private)
            .then(|| self.kubo.swarm_key_secret_name.clone().unwrap_or_else(generated))
    }
}
