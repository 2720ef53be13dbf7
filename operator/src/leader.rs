//! Leadership by a Lease: of several operators one acts, the others stand by.
//!
//! Times in the Lease are written by different clocks, so a follower goes by how long it has seen the same Lease unchanged
//! on its own clock. A leader that cannot renew in time stops acting before a follower may begin.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::health::describe;

/// A Lease that was not renewed for so long may be taken.
const LENGTH: Duration = Duration::from_secs(15);
/// A leader that could not renew for so long stops acting.
const RENEW_WITHIN: Duration = Duration::from_secs(10);
/// How often it renews, and a follower looks.
const PERIOD: Duration = Duration::from_secs(2);

/// What one look at the Lease calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is none: make it.
    Create,
    /// It is ours, free or out of date: write our name and the time.
    Take,
    /// Somebody else holds it.
    StandBy,
}

/// The same Lease seen for some time: `version` of it, first seen at `since`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    version: Option<String>,
    since: Instant,
}

/// Decides for `me`. `sighting` carries how long the Lease has not changed from one call to the next.
pub fn decide(lease: Option<&Lease>, me: &str, sighting: &mut Option<Sighting>, now: Instant) -> Step {
    let Some(lease) = lease else { return Step::Create };
    let version = lease.metadata.resource_version.clone();
    let seen = match sighting.take() {
        Some(seen) if seen.version == version => seen,
        _ => Sighting { version, since: now },
    };
    let unchanged = now.duration_since(seen.since);
    *sighting = Some(seen);
    let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    if holder.is_empty() || holder == me || unchanged >= LENGTH { Step::Take } else { Step::StandBy }
}

/// Who a candidate is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Differs from that of all other candidates.
    pub name: String,
    /// The pod it runs in. The Lease belongs to it, so that Kubernetes removes the Lease with the last operator.
    pub pod: Option<OwnerReference>,
}

impl Identity {
    /// From POD_NAME and POD_UID, which the chart sets; outside of a pod, from the process id.
    #[must_use]
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(name) = variable("POD_NAME") else {
            return Self { name: format!("process-{}", std::process::id()), pod: None };
        };
        let pod = variable("POD_UID").map(|uid| OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: name.clone(),
            uid,
            ..Default::default()
        });
        Self { name, pod }
    }
}

/// One candidate for one Lease.
pub struct Candidate {
    leases: Api<Lease>,
    name: String,
    me: Identity,
    sighting: Option<Sighting>,
}

impl Candidate {
    /// A candidate for the Lease `name`.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, me: Identity) -> Self {
        Self { leases: Api::namespaced(client, namespace), name: name.to_owned(), me, sighting: None }
    }

    /// Waits until it leads; `false` when `stop` came first.
    pub async fn wait_for_lead(&mut self, stop: &CancellationToken) -> bool {
        let mut told = false;
        loop {
            match tokio::time::timeout(RENEW_WITHIN, self.try_once()).await {
                Ok(Ok(true)) => return true,
                Ok(Ok(false)) if !told => {
                    tracing::info!(lease = self.name, "another operator leads; standing by");
                    told = true;
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    tracing::warn!(lease = self.name, error = %describe(&error), "lease not read or written")
                }
                Err(_) => tracing::warn!(lease = self.name, "lease not read or written in time"),
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = stop.cancelled() => return false,
            }
        }
    }

    /// Renews for as long as it is polled; returns when the lead is lost.
    pub async fn keep_lead(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(PERIOD).await;
            let left = RENEW_WITHIN.saturating_sub(renewed.elapsed());
            match tokio::time::timeout(left, self.try_once()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(lease = self.name, error = %describe(&error), "lease not renewed"),
                Err(_) => tracing::warn!(lease = self.name, "lease not renewed in time"),
            }
            if renewed.elapsed() >= RENEW_WITHIN {
                return;
            }
        }
    }

    /// Gives the Lease back, so that a follower need not wait.
    pub async fn resign(&self) {
        let release = async {
            let Some(mut lease) = self.leases.get_opt(&self.name).await? else { return Ok(()) };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(self.me.name.as_str()) {
                spec.holder_identity = None;
                self.leases.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok::<(), kube::Error>(())
        };
        match tokio::time::timeout(PERIOD, release).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = %describe(&error), "lease not given back; it runs out by itself"),
            Err(_) => tracing::warn!("lease not given back in time; it runs out by itself"),
        }
    }

    /// Whether it leads after one look. Two candidates cannot both succeed: writes carry the version that was read.
    async fn try_once(&mut self) -> kube::Result<bool> {
        let lease = self.leases.get_opt(&self.name).await?;
        let result = match decide(lease.as_ref(), &self.me.name, &mut self.sighting, Instant::now()) {
            Step::StandBy => return Ok(false),
            Step::Create => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..Default::default() };
                let mut lease = Lease { metadata, spec: Some(self.held(None)) };
                lease.metadata.owner_references = self.me.pod.clone().map(|pod| vec![pod]);
                self.leases.create(&PostParams::default(), &lease).await
            }
            Step::Take => {
                let mut lease = lease.unwrap_or_default();
                lease.spec = Some(self.held(lease.spec.take()));
                lease.metadata.owner_references = self.me.pod.clone().map(|pod| vec![pod]);
                self.leases.replace(&self.name, &PostParams::default(), &lease).await
            }
        };
        match result {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn held(&self, before: Option<LeaseSpec>) -> LeaseSpec {
        let before = before.unwrap_or_default();
        let now = MicroTime(Timestamp::now());
        let is_ours = before.holder_identity.as_deref() == Some(self.me.name.as_str());
        LeaseSpec {
            holder_identity: Some(self.me.name.clone()),
            lease_duration_seconds: i32::try_from(LENGTH.as_secs()).ok(),
            acquire_time: if is_ours { before.acquire_time } else { Some(now.clone()) },
            lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(!is_ours)),
            renew_time: Some(now),
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, version: &str) -> Lease {
        Lease {
            metadata: ObjectMeta { resource_version: Some(version.to_owned()), ..Default::default() },
            spec: Some(LeaseSpec { holder_identity: Some(holder.to_owned()), ..Default::default() }),
        }
    }

    #[test]
    fn a_lease_that_is_renewed_stays_with_its_holder() {
        let (mut sighting, start) = (None, Instant::now());
        assert_eq!(decide(Some(&lease("other", "1")), "me", &mut sighting, start), Step::StandBy);
        let later = start + LENGTH;
        assert_eq!(decide(Some(&lease("other", "2")), "me", &mut sighting, later), Step::StandBy);
    }

    #[test]
    fn a_lease_that_nobody_renews_is_taken() {
        let (mut sighting, start) = (None, Instant::now());
        assert_eq!(decide(Some(&lease("other", "1")), "me", &mut sighting, start), Step::StandBy);
        assert_eq!(decide(Some(&lease("other", "1")), "me", &mut sighting, start + LENGTH), Step::Take);
    }

    #[test]
    fn a_free_lease_or_our_own_is_taken_at_once() {
        let now = Instant::now();
        assert_eq!(decide(Some(&lease("", "1")), "me", &mut None, now), Step::Take);
        assert_eq!(decide(Some(&lease("me", "1")), "me", &mut None, now), Step::Take);
        assert_eq!(decide(None, "me", &mut None, now), Step::Create);
    }

    #[test]
    fn a_leader_stops_before_a_follower_may_begin() {
        assert!(RENEW_WITHIN + PERIOD < LENGTH);
    }
}
