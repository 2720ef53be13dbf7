//! Tokens, the keys that sign them, and the caches that know of both.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::Admin;
use crate::admin::{
    PLATFORM_SCOPE,
    failure::Failure,
    table::tokens::{self, CacheStats, Keys, Pruned, Token},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Minted {
    token: String,
    id: String,
    expires: String,
    #[serde(default)]
    org_created: bool,
}

impl Admin {
    pub(super) async fn mint_token(
        &self,
        org: Option<&str>,
        scopes: &[String],
        ttl: Option<Duration>,
    ) -> Result<(), Failure> {
        let mut request = json!({"scopes": scopes});
        match org {
            Some(org) => request["org"] = json!(org),
            None if scopes.iter().all(|scope| scope == PLATFORM_SCOPE) => {}
            None => {
                return Err(Failure::Usage("a token with these scopes is for one org: name it with --org".to_owned()));
            }
        }
        if let Some(ttl) = ttl {
            request["ttlSeconds"] = json!(ttl.as_secs());
        }
        let answer = self.client.post(&["tokens"], &request).await?;
        let minted: Minted = self.client.understand(&answer)?;
        if let (Some(org), true) = (org, minted.org_created) {
            eprintln!("org {org} is new");
        }
        eprintln!(
            "{} is good until {}; `anchorage admin revoke-token {}` ends it before",
            minted.id, minted.expires, minted.id
        );
        self.show(&answer, |minted: Minted| format!("{}\n", minted.token))
    }

    pub(super) async fn revoke_token(&self, token: &str) -> Result<(), Failure> {
        let answer = self.client.delete(&["tokens", token]).await?;
        self.show(&answer, |token: Token| tokens::token(&token))
    }

    pub(super) async fn rotate_key(&self) -> Result<(), Failure> {
        let answer = self.client.post(&["keys", "rotate"], &json!({})).await?;
        let keys: Keys = self.client.understand(&answer)?;
        if let Some((kid, from)) = keys.next() {
            eprintln!("key {kid} is announced and signs from {from} on; tokens that older keys signed stay good");
        }
        self.show(&answer, |keys: Keys| tokens::keys(&keys))
    }

    pub(super) async fn prune_denylist(&self) -> Result<(), Failure> {
        let answer = self.client.post(&["denylist", "prune"], &json!({})).await?;
        self.show(&answer, |pruned: Pruned| tokens::pruned(&pruned))
    }

    pub(super) async fn cache_stats(&self) -> Result<(), Failure> {
        let answer = self.client.get(&["cache-stats"]).await?;
        self.show(&answer, |stats: CacheStats| tokens::caches(&stats))
    }
}
