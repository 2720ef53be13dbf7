//! Connecting to the origins that clients named: a hint that helps and never hurts.

use super::Worker;
use pinner_core::address::Target;
use std::time::Duration;

/// The most origins dialled for one content.
const ORIGINS_MAX: usize = 10;
/// How long all dialling together may hold up the fetch. Slower peers connect while it runs.
const WAIT: Duration = Duration::from_secs(2);
/// How long one dial may go on in the background.
const DIAL_TIMEOUT: Duration = Duration::from_secs(15);

/// Dials those origins that the network's rule allows, each name resolved once and checked after.
pub(super) async fn dial(worker: &Worker, origins: &[String]) {
    let targets: Vec<_> = origins.iter().filter_map(|origin| Target::parse(origin)).take(ORIGINS_MAX).collect();
    if targets.is_empty() {
        return;
    }
    let dials = targets.into_iter().map(|target| {
        let (kubo, rule) = (worker.kubo.clone(), worker.fleet.rule().clone());
        tokio::spawn(tokio::time::timeout(DIAL_TIMEOUT, async move {
            let address = match target {
                Target::Ip { ip, address } => rule.allows(ip).then_some(address),
                Target::Dns { host, address } => {
                    let found = tokio::net::lookup_host((host.as_str(), 0)).await.ok().and_then(|mut all| all.next());
                    found.map(|found| found.ip()).filter(|ip| rule.allows(*ip)).map(|ip| Target::resolved(&address, ip))
                }
            };
            if let Some(address) = address
                && let Err(error) = kubo.connect(&address.to_string()).await
            {
                tracing::debug!(%error, "an origin cannot be reached");
            }
        }))
    });
    // Whoever is slower than this goes on in the background.
    drop(tokio::time::timeout(WAIT, futures::future::join_all(dials)).await);
}
