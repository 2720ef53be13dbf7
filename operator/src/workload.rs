//! Where StatefulSets and Jobs stand, read from their status.

use kube::ResourceExt;
use kube::core::DynamicObject;
use serde_json::Value;

/// How far a StatefulSet has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatefulSetState {
    /// Replicas that should run.
    pub wanted: i64,
    /// Replicas that are ready.
    pub ready: i64,
    /// Whether all replicas run the newest template.
    pub is_updated: bool,
}

impl StatefulSetState {
    /// Reads a StatefulSet.
    #[must_use]
    pub fn of(object: &DynamicObject) -> Self {
        let status = &object.data["status"];
        let number = |value: &Value| value.as_i64().unwrap_or(0);
        let wanted = object.data["spec"]["replicas"].as_i64().unwrap_or(1);
        let is_seen = object.metadata.generation == status["observedGeneration"].as_i64();
        let one_revision = status["updateRevision"] == status["currentRevision"];
        Self {
            wanted,
            ready: number(&status["readyReplicas"]),
            is_updated: is_seen && (one_revision || number(&status["updatedReplicas"]) >= wanted),
        }
    }

    /// Whether every replica is ready and up to date.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_updated && self.ready >= self.wanted
    }
}

/// How far a Job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It does not exist yet.
    Missing,
    /// It has not succeeded yet.
    Running,
    /// It has succeeded.
    Complete,
}

impl JobState {
    /// Reads a Job.
    #[must_use]
    pub fn of(object: Option<&DynamicObject>) -> Self {
        let Some(object) = object else { return JobState::Missing };
        let conditions = object.data["status"]["conditions"].as_array();
        let is_complete = conditions
            .into_iter()
            .flatten()
            .any(|condition| condition["type"] == "Complete" && condition["status"] == "True");
        if is_complete { JobState::Complete } else { JobState::Running }
    }
}

/// The digest that an object was last applied with.
#[must_use]
pub fn applied_digest(object: &DynamicObject) -> Option<&str> {
    object.annotations().get(crate::names::APPLIED).map(String::as_str)
}
