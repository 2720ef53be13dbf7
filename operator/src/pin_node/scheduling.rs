//! What is asked of a PinNode, by whom, and whether the pinners must be told. Pure.
//!
//! Annotations win over the spec while they are there. The operator takes back only what it asked for itself: a node that
//! somebody cordoned with `anchorage admin cordon` stays cordoned until an annotation or the spec says something. So that
//! it knows its own requests whenever it may be killed, it notes each in the status before it tells the pinners.

use std::collections::BTreeMap;

use crate::admin_api::{NodeReport, SchedulingRequest};
use crate::crd::{PinNodeStatus, Scheduling};
use crate::names;
use crate::views::KubernetesNode;

/// Longest token that is passed on and echoed, in bytes: the pinners take no longer ones.
const TOKEN: usize = 1024;

/// Who asks, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The annotation `anchorage.dev/drain` of the PinNode.
    DrainAnnotation,
    /// The annotation `anchorage.dev/maintenance`.
    MaintenanceAnnotation,
    /// The cluster has more PinNodes than it wants.
    Surplus,
    /// The annotation `anchorage.dev/drain` of the Kubernetes Node.
    KubernetesNodeDrain,
    /// The annotation `anchorage.dev/cordon`.
    CordonAnnotation,
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
/// A PinNode that is marked as surplus has the same intent with and without it.
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
        (annotation(names::MAINTENANCE), Scheduling::Maintenance, Source::MaintenanceAnnotation),
        (annotation(names::SURPLUS), Scheduling::Drained, Source::Surplus),
        (kubernetes_node.and_then(KubernetesNode::drain_request), Scheduling::Drained, Source::KubernetesNodeDrain),
        (annotation(names::CORDON), Scheduling::Cordoned, Source::CordonAnnotation),
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

/// As much of an annotation's value as is passed on and echoed.
#[must_use]
pub fn bounded(token: &str) -> String {
    token[..token.floor_char_boundary(TOKEN)].to_owned()
}

impl Intent {
    /// The request to the admin API.
    #[must_use]
    pub fn request(&self) -> SchedulingRequest {
        let reason = match self.source {
            Source::DrainAnnotation | Source::CordonAnnotation | Source::MaintenanceAnnotation => self.token.clone(),
            source => Some(source.reason().to_owned()),
        };
        SchedulingRequest { scheduling: self.scheduling, request_token: self.token.clone(), reason }
    }

    /// Whether the status must note this request before the pinners are told.
    #[must_use]
    pub fn is_news(&self, status: &PinNodeStatus) -> bool {
        self.scheduling != Scheduling::Active
            && (status.scheduling != Some(self.scheduling) || status.request_token != self.token)
    }

    /// Whether something that the operator asked for is to be taken back, whatever the pinners say.
    #[must_use]
    pub fn takes_back(&self, status: &PinNodeStatus) -> bool {
        self.scheduling == Scheduling::Active && status.scheduling.is_some_and(|noted| noted != Scheduling::Active)
    }

    /// Whether the pinners must be told, given what they say about the node.
    ///
    /// Nothing noted means that the PinNode is new. The pinners may know an earlier one of its name, and what was asked of
    /// that one, such as the drain before it was removed, is not asked of this one.
    #[must_use]
    pub fn contradicts(&self, status: &PinNodeStatus, report: &NodeReport) -> bool {
        if self.scheduling == Scheduling::Active {
            return status.scheduling.is_none() && report.scheduling != self.scheduling.as_str();
        }
        report.scheduling != self.scheduling.as_str() || report.request_token != self.token
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
    fn a_node_in_maintenance_keeps_its_place_unless_a_drain_is_asked_for_by_name() {
        let both = |other: &str| asked(&[(names::MAINTENANCE, "new disk"), (other, "x")], Scheduling::Active, None);
        for weaker in [names::SURPLUS, names::CORDON] {
            let intent = both(weaker);
            assert_eq!((intent.scheduling, intent.token.as_deref()), (Scheduling::Maintenance, Some("new disk")));
            assert_eq!(intent.request().reason.as_deref(), Some("new disk"));
        }
        assert_eq!(both(names::DRAIN).scheduling, Scheduling::Drained);
    }

    #[test]
    fn a_surplus_node_is_drained_for_that_reason_wherever_it_runs() {
        let draining = json!({ "metadata": { "name": "n", "annotations": { names::DRAIN: "rack" } } });
        let surplus = [(names::SURPLUS, "too many")];
        assert_eq!(asked(&surplus, Scheduling::Active, Some(draining)), asked(&surplus, Scheduling::Active, None));
    }

    #[test]
    fn a_token_is_cut_to_what_the_pinners_take() {
        assert_eq!(bounded("why"), "why");
        let long = bounded(&"ä".repeat(600));
        assert_eq!(long, "ä".repeat(512));
    }

    fn noted(scheduling: Option<Scheduling>, token: Option<&str>) -> PinNodeStatus {
        PinNodeStatus { scheduling, request_token: token.map(str::to_owned), ..PinNodeStatus::default() }
    }

    fn says(scheduling: &str, token: Option<&str>) -> NodeReport {
        let request_token = token.map(str::to_owned);
        NodeReport { scheduling: scheduling.to_owned(), request_token, ..NodeReport::default() }
    }

    #[test]
    fn a_request_is_noted_once_and_told_until_the_pinners_say_the_same() {
        let drain = asked(&[(names::DRAIN, "t1")], Scheduling::Active, None);
        assert!(drain.is_news(&noted(None, None)));
        assert!(drain.is_news(&noted(Some(Scheduling::Drained), Some("t0"))), "a new token is a new request");
        let status = noted(Some(Scheduling::Drained), Some("t1"));
        assert!(!drain.is_news(&status));
        assert!(!drain.contradicts(&status, &says("Drained", Some("t1"))));
        assert!(drain.contradicts(&status, &says("Drained", Some("t0"))), "killed before they were told");
        assert!(drain.contradicts(&status, &says("Active", None)), "the pinners forgot");
    }

    #[test]
    fn only_our_own_request_is_taken_back() {
        let nothing = asked(&[], Scheduling::Active, None);
        assert!(!nothing.is_news(&noted(None, None)));
        assert!(nothing.takes_back(&noted(Some(Scheduling::Drained), Some("t1"))));
        let untouched = noted(Some(Scheduling::Active), None);
        assert!(!nothing.takes_back(&untouched));
        assert!(!nothing.contradicts(&untouched, &says("Cordoned", None)), "cordoned by hand");
    }

    #[test]
    fn a_new_pin_node_is_not_what_was_asked_of_an_earlier_one_of_its_name() {
        let nothing = asked(&[], Scheduling::Active, None);
        assert!(nothing.contradicts(&noted(None, None), &says("Drained", Some("more PinNodes than spec.nodes"))));
        assert!(!nothing.contradicts(&noted(None, None), &says("Active", None)));
    }
}
