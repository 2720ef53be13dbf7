//! What each command asks and prints.

mod fleet;
mod tokens;

use std::{
    io::{self, Write as _},
    time::Duration,
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    AdminArgs, AdminCommand, Limit, NodeArgs, Output,
    client::Client,
    credentials::{Server, Token},
    failure::Failure,
    table::{self, Drain, Node, Org},
};

/// Between two looks at a drain.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A server that is away this long while we wait is taken for gone; one that is started again is back before.
const AWAY_AT_MOST: Duration = Duration::from_secs(60);

pub(super) async fn run(args: AdminArgs) -> Result<(), Failure> {
    let AdminArgs { server, token_file, output, command } = args;
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let server = Server::choose(server, variable)?;
    let token = Token::choose(token_file, variable)?;
    let admin = Admin { client: Client::new(server, token)?, output };
    match command {
        AdminCommand::Nodes => admin.nodes().await,
        AdminCommand::Cordon(node) => admin.schedule(&node, "cordon").await,
        AdminCommand::Uncordon(node) => admin.schedule(&node, "uncordon").await,
        AdminCommand::Drain { node, wait: false, .. } => admin.schedule(&node, "drain").await,
        AdminCommand::Drain { node, wait: true, timeout } => admin.drain(&node, timeout).await,
        AdminCommand::Maintenance(pause) => admin.maintenance(pause).await,
        AdminCommand::Rebalance { dry_run } => admin.rebalance(dry_run).await,
        AdminCommand::ClusterPresences => admin.presences().await,
        AdminCommand::CacheStats => admin.cache_stats().await,
        AdminCommand::Orgs => admin.orgs().await,
        AdminCommand::SetLimits { org, max_pins, max_bytes } => admin.set_limits(&org, max_pins, max_bytes).await,
        AdminCommand::MintToken { org, scopes, ttl } => admin.mint_token(org.as_deref(), &scopes, ttl).await,
        AdminCommand::RevokeToken { token } => admin.revoke_token(&token).await,
        AdminCommand::RotateKey => admin.rotate_key().await,
        AdminCommand::PruneDenylist => admin.prune_denylist().await,
    }
}

struct Admin {
    client: Client,
    output: Output,
}

#[derive(Deserialize)]
struct Nodes {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Orgs {
    orgs: Vec<Org>,
}

impl Admin {
    async fn nodes(&self) -> Result<(), Failure> {
        let answer = self.client.get(&["nodes"]).await?;
        self.show(&answer, |Nodes { nodes }| table::nodes(&nodes))
    }

    async fn orgs(&self) -> Result<(), Failure> {
        let answer = self.client.get(&["orgs"]).await?;
        self.show(&answer, |Orgs { orgs }| table::orgs(&orgs))
    }

    async fn set_limits(&self, org: &str, pins: Option<Limit>, bytes: Option<Limit>) -> Result<(), Failure> {
        let mut request = json!({});
        for (key, limit) in [("maxPins", pins), ("maxBytes", bytes)] {
            match limit {
                None => {}
                Some(Limit::None) => request[key] = Value::Null,
                Some(Limit::Most(most)) => request[key] = json!(most),
            }
        }
        let answer = self.client.patch(&["orgs", org], &request).await?;
        self.show(&answer, |org: Org| table::orgs(&[org]))
    }

    /// Cordon, uncordon, drain: the answer is the node as it is from now on.
    async fn schedule(&self, node: &NodeArgs, verb: &str) -> Result<(), Failure> {
        let answer = self.ask_to(node, verb).await?;
        let node: Node = self.client.understand(&answer)?;
        if let Some(waits) = waits(&node) {
            eprintln!("{waits}");
        }
        self.show(&answer, |node: Node| table::nodes(&[node]))
    }

    async fn ask_to(&self, node: &NodeArgs, verb: &str) -> Result<Value, Failure> {
        let body = match &node.reason {
            Some(reason) => json!({"reason": reason}),
            None => json!({}),
        };
        self.client.post(&["nodes", &node.node, verb], &body).await
    }

    async fn drain(&self, args: &NodeArgs, at_most: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + at_most;
        let mut answer = self.ask_to(args, "drain").await?;
        let mut shown = String::new();
        loop {
            let node: Node = self.client.understand(&answer)?;
            match &node.drain {
                _ if node.state == "drained" => {
                    return self.show(&answer, |node: Node| table::nodes(&[node]));
                }
                Some(drain) => {
                    let progress = progress(&node.name, drain);
                    if progress != shown {
                        eprintln!("{progress}");
                        shown = progress;
                    }
                }
                None => {
                    return Err(Failure::Refused(format!(
                        "the drain of {} was cancelled: it is {} now",
                        node.name, node.state
                    )));
                }
            }
            if Instant::now() >= deadline {
                return Err(Failure::Failed(format!(
                    "{} is not drained after {} s; the drain goes on, `anchorage admin drain {} --wait` waits again",
                    node.name,
                    at_most.as_secs(),
                    node.name
                )));
            }
            sleep(LOOK_EVERY).await;
            answer = self.look_at(&node.name).await?;
        }
    }

    /// The node, even if the server has to be started again first.
    async fn look_at(&self, name: &str) -> Result<Value, Failure> {
        let deadline = Instant::now() + AWAY_AT_MOST;
        loop {
            match self.client.get(&["nodes", name]).await {
                Err(Failure::Failed(_)) if Instant::now() < deadline => sleep(LOOK_EVERY).await,
                answer => return answer,
            }
        }
    }

    /// The answer on stdout, as asked for.
    fn show<T: DeserializeOwned>(&self, answer: &Value, text: impl FnOnce(T) -> String) -> Result<(), Failure> {
        let text = match self.output {
            Output::Json => format!("{answer:#}\n"),
            Output::Table => text(self.client.understand(answer)?),
        };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .map_err(|error| Failure::Failed(format!("write to stdout: {error}")))
    }
}

/// That a drain was accepted and why nothing comes of it for now.
pub(super) fn waits(node: &Node) -> Option<String> {
    let blocked_by = &node.drain.as_ref()?.blocked_by;
    (!blocked_by.is_empty())
        .then(|| format!("the drain of {} is accepted and waits; blocked by: {}", node.name, blocked_by.join("; ")))
}

/// How far a drain has come, in one line.
pub(super) fn progress(node: &str, drain: &Drain) -> String {
    let mut line = format!(
        "draining {node}: {} of {} placements and {} bytes remain",
        drain.placements_remaining, drain.placements_total, drain.bytes_remaining
    );
    if !drain.blocked_by.is_empty() {
        line.push_str("; blocked by: ");
        line.push_str(&drain.blocked_by.join("; "));
    }
    line
}
