//! The Secrets that the operator makes for a cluster: each value is generated once and kept from then on.
//!
//! Pure: what exists comes in, what should exist goes out, chance is an argument.

use std::collections::BTreeMap;

use crate::cluster::validate::{Cluster, Database, Nats};
use crate::crd::anchorage_cluster::Network;
use crate::database_url::DatabaseUrl;
use crate::desired::digest;
use crate::names;
use crate::secrets::{Content, Secrets, Text};

/// Credentials of one cluster, some from what exists already, the others new.
#[derive(Clone, Debug, PartialEq)]
pub struct Credentials {
    secrets: BTreeMap<String, Content>,
}

/// The roles that pinners log in as, with the key of their URL.
pub const ROLES: [(&str, &str); 3] =
    [("anchorage_api", "api-url"), ("anchorage_worker", "worker-url"), ("anchorage_metrics", "metrics-url")];

impl Credentials {
    /// What the cluster's Secrets should contain. `fresh` makes a new secret of 64 hexadecimal digits; it is called only
    /// for values that `existing` does not have.
    #[must_use]
    pub fn complete(cluster: &Cluster, existing: &Secrets, fresh: &mut dyn FnMut() -> String) -> Self {
        let mut made = Maker { existing, fresh, secrets: BTreeMap::new() };
        made.keep(&names::admin_secret(&cluster.name), "token");
        made.keep(&names::tokens_secret(&cluster.name), "root");
        made.database(cluster);
        made.nats(cluster);
        if cluster.kubo.network == Network::Private && cluster.kubo.swarm_key_secret_name.is_none() {
            made.swarm_key(&names::swarm_key_secret(&cluster.name));
        }
        Self { secrets: made.secrets }
    }

    /// The Secrets by name.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &Content)> {
        self.secrets.iter().map(|(name, content)| (name.as_str(), content))
    }

    /// The admin API's token.
    #[must_use]
    pub fn admin_token(&self, cluster: &str) -> Option<&Text> {
        self.secrets.get(&names::admin_secret(cluster))?.get("token")
    }

    /// Digest of everything that a pinner reads at its start; `referenced` are the user's own Secrets.
    #[must_use]
    pub fn inputs(&self, cluster: &Cluster, referenced: &Secrets) -> String {
        let own = self.secrets.values().flat_map(|content| content.iter());
        let swarm_key = cluster.kubo.swarm_key_secret_name.as_deref().and_then(|name| referenced.get(name));
        let nats = match &cluster.nats {
            Nats::External { credentials_secret_name: Some(name), .. } => referenced.get(name),
            _ => None,
        };
        let foreign = swarm_key.into_iter().chain(nats).flat_map(|content| content.iter());
        let parts: Vec<&[u8]> = own
            .chain(foreign)
            // Only the servers read these; a changed server list must not restart pinners.
            .filter(|(key, _)| key.as_str() != "nats.conf" && key.as_str() != "admin-url")
            .flat_map(|(key, text)| [key.as_bytes(), text.expose().as_bytes()])
            .collect();
        digest(&parts)
    }
}

struct Maker<'a> {
    existing: &'a Secrets,
    fresh: &'a mut dyn FnMut() -> String,
    secrets: BTreeMap<String, Content>,
}

impl Maker<'_> {
    /// The existing value, else a fresh one; either becomes part of the result.
    fn keep(&mut self, secret: &str, key: &str) -> Text {
        let value = match self.existing.value(secret, key) {
            Some(value) => value.clone(),
            None => Text::new((self.fresh)()),
        };
        self.put(secret, key, value.clone());
        value
    }

    fn put(&mut self, secret: &str, key: &str, value: Text) {
        self.secrets.entry(secret.to_owned()).or_default().insert(key.to_owned(), value);
    }

    fn database(&mut self, cluster: &Cluster) {
        let secret = names::database_secret(&cluster.name);
        let admin = match &cluster.database {
            Database::External { url, .. } => url.clone(),
            Database::Managed(_) => {
                let password = self.keep(&names::postgres(&cluster.name), "password");
                let url = DatabaseUrl::managed(&cluster.name, password.expose());
                self.put(&secret, "admin-url", Text::new(url.reveal()));
                url
            }
        };
        for (role, key) in ROLES {
            let existing = self.existing.value(&secret, key).and_then(|text| DatabaseUrl::parse(text.expose()).ok());
            let password = match existing {
                Some(url) if !url.password().is_empty() => url.password().to_owned(),
                _ => (self.fresh)(),
            };
            self.put(&secret, key, Text::new(admin.for_role(role, &password).reveal()));
        }
    }

    fn nats(&mut self, cluster: &Cluster) {
        let secret = names::nats_secret(&cluster.name);
        match &cluster.nats {
            Nats::External { url, .. } => self.put(&secret, "url", Text::new(url.clone())),
            Nats::Managed(managed) => {
                self.put(&secret, "user", Text::new("anchorage"));
                let password = self.keep(&secret, "password");
                let url = format!("nats://anchorage:{}@{}:4222", password.expose(), names::nats(&cluster.name));
                self.put(&secret, "url", Text::new(url));
                let config = crate::resources::nats::server_config(&cluster.name, managed, &password);
                self.put(&secret, "nats.conf", config);
            }
        }
    }

    fn swarm_key(&mut self, secret: &str) {
        let value = match self.existing.value(secret, "swarm.key") {
            Some(value) => value.clone(),
            None => Text::new(format!("/key/swarm/psk/1.0.0/\n/base16/\n{}\n", (self.fresh)())),
        };
        self.put(secret, "swarm.key", value);
    }
}
