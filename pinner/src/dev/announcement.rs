//! The one line on stdout: where everything is and how to get in.

use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Running, Stage, child::Child, nats, postgres};

/// All scopes that an org's token can have.
const ORG_SCOPES: [&str; 4] = ["pins:read", "pins:write", "uploads:write", "org:admin"];
/// The longest that the admin API gives.
const TTL: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// What programs read to use the service; its fields are a promise of DESIGN §9.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Announcement {
    endpoint: String,
    endpoints: Vec<String>,
    metrics: Vec<String>,
    admin_token: String,
    orgs: Orgs,
    kubo: Vec<String>,
    database_url: String,
    nats_url: String,
    swarm_key: String,
    replication: Replication,
    pids: Pids,
}

/// A token for each of two orgs, so that one can be kept out of the other's pins.
#[derive(Serialize)]
struct Orgs {
    demo: String,
    other: String,
}

#[derive(Serialize)]
struct Replication {
    min: u8,
    max: u8,
}

#[derive(Serialize)]
struct Pids {
    postgres: u32,
    nats: u32,
    kubo: Vec<u32>,
    pinner: Vec<u32>,
}

/// Mints the tokens and gathers the rest.
pub(super) async fn make(stage: &Stage, running: &Running) -> anyhow::Result<Announcement> {
    let setup = &stage.setup;
    let endpoints: Vec<String> = setup.nodes.iter().map(|node| node.endpoint()).collect();
    let mint = Mint {
        http: reqwest::Client::builder().timeout(Duration::from_secs(10)).build().context("make an HTTP client")?,
        url: format!("{}/admin/v1/tokens", endpoints[0]),
        admin: &setup.secrets.admin_token,
    };
    let of_one = |child: &Option<Child>| child.as_ref().map_or(0, Child::pid);
    let of_all = |children: &[Child]| children.iter().map(Child::pid).collect();
    Ok(Announcement {
        endpoint: endpoints[0].clone(),
        endpoints,
        metrics: setup.nodes.iter().map(|node| format!("http://{}/metrics", node.metrics)).collect(),
        admin_token: mint.token(None, &["platform:admin"]).await?,
        orgs: Orgs {
            demo: mint.token(Some("demo"), &ORG_SCOPES).await?,
            other: mint.token(Some("other"), &ORG_SCOPES).await?,
        },
        kubo: setup.nodes.iter().map(|node| format!("http://{}", node.rpc)).collect(),
        database_url: postgres::url(setup.postgres, "postgres", &setup.secrets.postgres),
        nats_url: nats::url(setup.nats),
        swarm_key: stage.state.swarm_key().display().to_string(),
        replication: Replication { min: stage.config.replication.min, max: stage.config.replication.max },
        pids: Pids {
            postgres: of_one(&running.postgres),
            nats: of_one(&running.nats),
            kubo: of_all(&running.kubos),
            pinner: of_all(&running.pinners),
        },
    })
}

/// The admin API's way to a token.
struct Mint<'a> {
    http: reqwest::Client,
    url: String,
    admin: &'a str,
}

#[derive(Deserialize)]
struct Minted {
    token: String,
}

impl Mint<'_> {
    async fn token(&self, org: Option<&str>, scopes: &[&str]) -> anyhow::Result<String> {
        let mut request = json!({"scopes": scopes, "ttlSeconds": TTL.as_secs()});
        if let Some(org) = org {
            request["org"] = json!(org);
        }
        let answer =
            self.http.post(&self.url).bearer_auth(self.admin).json(&request).send().await.context("mint a token")?;
        let status = answer.status();
        let body = answer.text().await.context("mint a token")?;
        anyhow::ensure!(status.is_success(), "mint a token: {} answered {status}: {body}", self.url);
        let minted: Minted = serde_json::from_str(&body).context("mint a token: read the answer")?;
        Ok(minted.token)
    }
}
