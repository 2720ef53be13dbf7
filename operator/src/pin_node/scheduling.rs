//! What is asked of a PinNode, by whom, and whether the pinners have heard of it. Pure.
//!
//! Annotations win over the spec while they are there. The operator takes back only what it asked for itself: a node that
//! somebody cordoned with `anchorage admin cordon` stays cordoned until an annotation or the spec says something.

use std::collections::BTreeMap;

use crate::admin_api::{NodeReport, SchedulingRequest};
use crate::crd::Scheduling;
use crate::names;
use crate::views::KubernetesNode;

/// Longest token that is passed on and echoed.
const TOKEN: usize = 1024;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The annotation `anchorage.dev/drain` of the PinNode.
    DrainAnnotation,
    /// The same annotation on the Kubernetes Node.
    KubernetesNodeDrain,
    /// The cluster has more PinNodes than it wants.
    Surplus,
    /// The annotation `anchorage.dev/cordon`.
    CordonAnnotation,
    /// The annotation `anchorage.dev/maintenance`.
    MaintenanceAnnotation,
    /// `kubectl cordon` of the Kubernetes Node.
    KubernetesNodeCordon,
    /// `spec.scheduling`.
    Spec,
}

impl Source {
    /// Condition reason for a node that takes no placements because of it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Source::DrainAnnotation | Source::CordonAnnotation => "RequestedByAnnotation",
            Source::KubernetesNodeDrain => "KubernetesNodeDraining",
            Source::Surplus => "ScaledDown",
            Source::MaintenanceAnnotation => "Maintenance",
            Source::KubernetesNodeCordon => "KubernetesNodeCordoned",
            Source::Spec => "RequestedBySpec",
        }
    }
}

/// What is asked of a PinNode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The state to come to.
    pub scheduling: Scheduling,
    /// The annotation's value, to be echoed.
    pub token: Option<String>,
    /// Who asks.
    pub source: Source,
}

/// The strongest request there is. `kubernetes_node` is the Node that the pod runs on, where it may be read.
#[must_use]
pub fn intent(
    annotations: &BTreeMap<String, String>,
    spec: Scheduling,
    kubernetes_node: Option<&KubernetesNode>,
) -> Intent {
    let annotation = |key: &str| annotations.get(key).map(String::as_str);
    let by = |scheduling, token: Option<&str>, source| Intent { scheduling, token: token.map(bounded), source };
    let requests = [
        (annotation(names::DRAIN), Scheduling::Drained, Source::DrainAnnotation),
        (kubernetes_node.and_then(KubernetesNode::drain_request), Scheduling::Drained, Source::KubernetesNodeDrain),
        (annotation(names::SURPLUS), Scheduling::Drained, Source::Surplus),
        (annotation(names::CORDON), Scheduling::Cordoned, Source::CordonAnnotation),
        (annotation(names::MAINTENANCE), Scheduling::Cordoned, Source::MaintenanceAnnotation),
    ];
    if let Some((token, scheduling, source)) =
        requests.into_iter().find_map(|(token, scheduling, source)| Some((token?, scheduling, source)))
    {
        return by(scheduling, Some(token), source);
    }
    if spec == Scheduling::Active && kubernetes_node.is_some_and(|node| node.spec.unschedulable) {
        return by(Scheduling::Cordoned, None, Source::KubernetesNodeCordon);
    }
    by(spec, None, Source::Spec)
}

fn bounded(token: &str) -> String {
    token.chars().take(TOKEN).collect()
}

impl Intent {
    /// The request to the admin API.
    #[must_use]
    pub fn request(&self) -> SchedulingRequest {
        let reason = match self.source {
            Source::DrainAnnotation | Source::CordonAnnotation => self.token.clone(),
            source => Some(source.reason().to_owned()),
        };
        SchedulingRequest { scheduling: self.scheduling, request_token: self.token.clone(), reason }
    }

    /// Whether the pinners must be told. `delivered` is what the operator last told them (from status), `report` what
    /// they last said.
    #[must_use]
    pub fn needs_delivery(
        &self,
        delivered: Option<Scheduling>,
        delivered_token: Option<&str>,
        report: Option<&NodeReport>,
    ) -> bool {
        if self.scheduling == Scheduling::Active {
            return delivered.is_some_and(|delivered| delivered != Scheduling::Active);
        }
        let told = delivered == Some(self.scheduling) && delivered_token == self.token.as_deref();
        let heard = report
            .is_none_or(|report| report.scheduling == self.scheduling.as_str() && report.request_token == self.token);
        !told || !heard
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(annotations: &[(&str, &str)], spec: Scheduling, node: Option<serde_json::Value>) -> Intent {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let node: Option<KubernetesNode> = node.map(|node| serde_json::from_value(node).unwrap());
        intent(&annotations, spec, node.as_ref())
    }

    #[test]
    fn annotations_win_over_the_spec_while_they_are_there() {
        let drain = asked(&[(names::DRAIN, "disk"), (names::CORDON, "x")], Scheduling::Active, None);
        assert_eq!((drain.scheduling, drain.token.as_deref()), (Scheduling::Drained, Some("disk")));
        let cordon = asked(&[(names::CORDON, "look")], Scheduling::Drained, None);
        assert_eq!((cordon.scheduling, cordon.token.as_deref()), (Scheduling::Cordoned, Some("look")));
        assert_eq!(asked(&[], Scheduling::Drained, None).scheduling, Scheduling::Drained);
    }

    #[test]
    fn a_cordoned_kubernetes_node_cordons_and_never_drains() {
        let cordoned = json!({ "metadata": { "name": "n" }, "spec": { "unschedulable": true } });
        assert_eq!(asked(&[], Scheduling::Active, Some(cordoned)).scheduling, Scheduling::Cordoned);
        let draining = json!({ "metadata": { "name": "n", "annotations": { names::DRAIN: "" } } });
        assert_eq!(asked(&[], Scheduling::Active, Some(draining)).source, Source::KubernetesNodeDrain);
    }

    #[test]
    fn a_request_is_delivered_once() {
        let drain = asked(&[(names::DRAIN, "t1")], Scheduling::Active, None);
        assert!(drain.needs_delivery(None, None, None));
        assert!(!drain.needs_delivery(Some(Scheduling::Drained), Some("t1"), None));
        assert!(drain.needs_delivery(Some(Scheduling::Drained), Some("t0"), None), "a new token is a new request");
        let forgotten = NodeReport { scheduling: "Active".to_owned(), ..NodeReport::default() };
        assert!(drain.needs_delivery(Some(Scheduling::Drained), Some("t1"), Some(&forgotten)), "the pinners forgot");
    }

    #[test]
    fn only_our_own_request_is_taken_back() {
        let nothing = asked(&[], Scheduling::Active, None);
        assert!(nothing.needs_delivery(Some(Scheduling::Drained), Some("t1"), None));
        let by_hand = NodeReport { scheduling: "Cordoned".to_owned(), ..NodeReport::default() };
        assert!(!nothing.needs_delivery(None, None, Some(&by_hand)));
        assert!(!nothing.needs_delivery(Some(Scheduling::Active), None, Some(&by_hand)));
    }
}
