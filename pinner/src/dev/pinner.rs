//! The service itself: `anchorage migrate`, then one `anchorage serve` a node, configured by variables alone.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::future;
use nix::sys::signal::Signal;

use super::{
    Stage,
    child::{self, Child, Program},
    nats, postgres, say,
    setup::{Node, Setup},
};
use crate::config::{Config, ConfigArgs, ServeConfig};

/// Keys that the user of `anchorage dev` may set; all others are decided here.
const TUNING: [&str; 6] = [
    "ANCHORAGE_DATABASE_POOL_SIZE",
    "ANCHORAGE_LOG_",
    "ANCHORAGE_REBALANCE_",
    "ANCHORAGE_REPLICATION_",
    "ANCHORAGE_SHUTDOWN_",
    "ANCHORAGE_WORKER_",
];
/// Read by this command or by the admin client, so they say nothing about the pinners.
const NOT_FOR_PINNERS: [&str; 5] =
    ["ANCHORAGE_TOOLS_DIR", "ANCHORAGE_SERVER", "ANCHORAGE_TOKEN", "ANCHORAGE_LAB_", "ANCHORAGE_PINNING_SPEC"];
const REPLICATION_MIN: &str = "ANCHORAGE_REPLICATION_MIN";
const REPLICATION_MAX: &str = "ANCHORAGE_REPLICATION_MAX";
/// Beyond its own grace, for the process to end.
const END: Duration = Duration::from_secs(2);

/// The variables that go on to every pinner, with two copies of a content unless there is only one node or the user says
/// otherwise. Those that cannot go on are named.
pub(super) fn tuning(user: Vec<(String, String)>, nodes: usize) -> Vec<(String, String)> {
    let begins = |name: &str, with: &[&str]| with.iter().any(|start| name.starts_with(start));
    let (mut tuning, others): (Vec<_>, Vec<_>) = user.into_iter().partition(|(name, _)| begins(name, &TUNING));
    for (name, _) in others {
        if !begins(&name, &NOT_FOR_PINNERS) {
            say(&format!("variable {name} is not used: `anchorage dev` decides this for its pinners"));
        }
    }
    let replication = |name: &str| {
        let set = tuning.iter().find(|(set, _)| set == name);
        set.map(|(_, value)| value.clone())
    };
    let (min, max) = (replication(REPLICATION_MIN), replication(REPLICATION_MAX));
    let copies = nodes.min(2).to_string();
    let defaults = [
        (REPLICATION_MIN, max.unwrap_or_else(|| copies.clone())),
        (REPLICATION_MAX, min.unwrap_or(copies)),
        ("ANCHORAGE_SHUTDOWN_GRACE_SECONDS", "5".to_owned()),
    ];
    for (name, default) in defaults {
        if !tuning.iter().any(|(set, _)| set == name) {
            tuning.push((name.to_owned(), default));
        }
    }
    tuning
}

/// Everything that one pinner is told.
fn variables(setup: &Setup, node: &Node) -> Vec<(String, String)> {
    let role = |name: &str, password: &str| postgres::url(node.postgres, name, password);
    let secrets = &setup.secrets;
    let mut variables: Vec<(String, String)> = [
        ("LISTEN", node.api.to_string()),
        ("METRICS_LISTEN", node.metrics.to_string()),
        ("METRICS_ALLOW_CIDRS", "127.0.0.0/8,::1/128".to_owned()),
        ("NODE_NAME", node.name.clone()),
        ("NODE_ZONE", node.zone.to_owned()),
        ("DATABASE_API_URL", role("anchorage_api", &secrets.api)),
        ("DATABASE_WORKER_URL", role("anchorage_worker", &secrets.worker)),
        ("DATABASE_METRICS_URL", role("anchorage_metrics", &secrets.metrics)),
        ("NATS_URL", nats::url(node.nats)),
        ("KUBO_URL", format!("http://{}", node.rpc)),
        ("TOKENS_ROOT", secrets.tokens_root.clone()),
        ("ADMIN_TOKEN", secrets.admin_token.clone()),
        ("NETWORK_MODE", "Private".to_owned()),
        ("NETWORK_ALLOW_CIDRS", "127.0.0.0/8".to_owned()),
    ]
    .map(|(name, value)| (format!("ANCHORAGE_{name}"), value))
    .to_vec();
    variables.extend(setup.tuning.iter().cloned());
    variables
}

/// The configuration that a pinner will run with; what the user set wrongly is said before anything starts.
pub(super) fn checked(setup: &Setup) -> anyhow::Result<ServeConfig> {
    let config = Config::load(&ConfigArgs::default(), variables(setup, &setup.nodes[0]))?;
    Ok(config.for_serve()?)
}

/// Brings the database to this version's schema.
pub(super) async fn migrate(stage: &Stage) -> anyhow::Result<()> {
    let Stage { programs, state, setup, .. } = stage;
    let admin = postgres::url(setup.postgres, "postgres", &setup.secrets.postgres);
    let mut variables = variables(setup, &setup.nodes[0]);
    variables.push(("ANCHORAGE_DATABASE_ADMIN_URL".to_owned(), admin));
    let program = Program {
        name: "`anchorage migrate`".to_owned(),
        file: programs.anchorage.clone(),
        args: vec!["migrate".into()],
        variables,
        stdin: None,
        account: None,
        log: state.log("migrate"),
        stop: Signal::SIGTERM,
        grace: END,
    };
    child::run(&program, &stage.roster).await
}

/// Starts every node's pinner and waits until all are ready.
pub(super) async fn start(stage: &Stage, slot: &mut Vec<Child>) -> anyhow::Result<()> {
    let Stage { programs, state, setup, .. } = stage;
    for node in &setup.nodes {
        let program = Program {
            name: format!("pinner of {}", node.name),
            file: programs.anchorage.clone(),
            args: vec!["serve".into()],
            variables: variables(setup, node),
            stdin: None,
            account: None,
            log: state.log(&format!("pinner-{}", node.name)),
            stop: Signal::SIGTERM,
            grace: stage.config.shutdown_grace + END,
        };
        slot.push(Child::start(program, Arc::clone(&stage.roster)));
    }
    let http = reqwest::Client::builder().timeout(Duration::from_secs(2)).build().context("make an HTTP client")?;
    let ready = slot.iter().zip(&setup.nodes).map(|(child, node)| {
        let http = &http;
        child.ready(async move || {
            let answer = http.get(format!("{}/readyz", node.endpoint())).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
    });
    future::try_join_all(ready).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuned(user: &[(&str, &str)], nodes: usize) -> Vec<(String, String)> {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut tuning = tuning(user.iter().map(own).collect(), nodes);
        tuning.retain(|(name, _)| name != "ANCHORAGE_SHUTDOWN_GRACE_SECONDS");
        tuning.sort();
        tuning
    }

    fn replication(user: &[(&str, &str)], nodes: usize) -> Vec<String> {
        tuned(user, nodes).into_iter().map(|(_, value)| value).collect()
    }

    #[test]
    fn a_content_has_two_copies_unless_there_is_one_node() {
        assert_eq!(replication(&[], 1), ["1", "1"]);
        assert_eq!(replication(&[], 2), ["2", "2"]);
        assert_eq!(replication(&[], 5), ["2", "2"]);
    }

    #[test]
    fn one_bound_set_by_the_user_moves_the_other_along() {
        assert_eq!(replication(&[(REPLICATION_MIN, "3")], 3), ["3", "3"]);
        assert_eq!(replication(&[(REPLICATION_MAX, "1")], 3), ["1", "1"]);
        assert_eq!(replication(&[(REPLICATION_MIN, "1"), (REPLICATION_MAX, "3")], 3), ["3", "1"]);
    }

    #[test]
    fn what_is_decided_here_is_not_taken_from_the_user() {
        let tuning = tuned(
            &[("ANCHORAGE_DATABASE_API_URL", "x"), ("ANCHORAGE_CONFIG", "x"), ("ANCHORAGE_WORKER_SLOTS", "4")],
            1,
        );
        assert!(tuning.contains(&("ANCHORAGE_WORKER_SLOTS".to_owned(), "4".to_owned())));
        assert_eq!(tuning.len(), 3, "{tuning:?}");
    }
}
