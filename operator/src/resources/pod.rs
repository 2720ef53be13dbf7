//! What all pods have in common: they pass Pod Security `restricted`, have read-only roots and no API token.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSetPersistentVolumeClaimRetentionPolicy;
use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, ExecAction,
    HTTPGetAction, KeyToPath, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodSecurityContext, Probe,
    ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::crd::shared::{Resources, Storage};

/// Security of a whole pod: the numbers its containers run under and the group that owns its volumes.
pub(crate) fn pod_security(user: i64, group: i64) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: Some(user),
        run_as_group: Some(group),
        fs_group: Some(group),
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), ..Default::default() }),
        ..Default::default()
    }
}

/// Security of a container. `user` and `group` where it differs from the pod's.
pub(crate) fn container_security(user: Option<(i64, i64)>) -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Default::default() }),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        run_as_user: user.map(|(user, _)| user),
        run_as_group: user.map(|(_, group)| group),
        ..Default::default()
    }
}

/// A container with everything that all of ours share.
pub(crate) fn container(name: &str, image: &str, resources: &Resources) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        resources: requirements(resources),
        security_context: Some(container_security(None)),
        // The end of the log becomes the reason that a condition shows.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Default::default()
    }
}

fn requirements(resources: &Resources) -> Option<ResourceRequirements> {
    let quantities = |of: &BTreeMap<String, String>| {
        (!of.is_empty()).then(|| of.iter().map(|(key, value)| (key.clone(), Quantity(value.clone()))).collect())
    };
    (*resources != Resources::default()).then(|| ResourceRequirements {
        requests: quantities(&resources.requests),
        limits: quantities(&resources.limits),
        ..Default::default()
    })
}

/// An environment variable.
pub(crate) fn env(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), ..Default::default() }
}

/// A named port.
pub(crate) fn port(name: &str, number: i32, protocol: &str) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some(protocol.to_owned()),
        ..Default::default()
    }
}

/// A place to mount a volume for writing.
pub(crate) fn mount(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { name: volume.to_owned(), mount_path: path.to_owned(), ..Default::default() }
}

/// A place to mount a volume for reading.
pub(crate) fn read_only(volume: &str, path: &str) -> VolumeMount {
    VolumeMount { read_only: Some(true), ..mount(volume, path) }
}

/// An empty directory, bounded so that a runaway writer hurts only its own pod.
pub(crate) fn scratch(name: &str, limit: &str) -> Volume {
    let empty_dir = EmptyDirVolumeSource { size_limit: Some(Quantity(limit.to_owned())), ..Default::default() };
    Volume { name: name.to_owned(), empty_dir: Some(empty_dir), ..Default::default() }
}

/// Some keys of a Secret as files that only the pod's group can read.
pub(crate) fn secret_files(name: &str, secret: &str, keys: &[&str]) -> Volume {
    Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            default_mode: Some(0o440),
            items: Some(keys.iter().map(|key| file(key)).collect()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A ConfigMap as files.
pub(crate) fn config_files(name: &str, config_map: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: config_map.to_owned(),
            default_mode: Some(0o555),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The key of a Secret as a file of the same name.
pub(crate) fn file(key: &str) -> KeyToPath {
    KeyToPath { key: key.to_owned(), path: key.to_owned(), ..Default::default() }
}

/// A volume claim named `data`.
pub(crate) fn data_claim(storage: &Storage) -> PersistentVolumeClaim {
    let size = [("storage".to_owned(), Quantity(storage.size.clone()))].into_iter().collect();
    PersistentVolumeClaim {
        metadata: ObjectMeta { name: Some("data".to_owned()), ..Default::default() },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: storage.storage_class_name.clone(),
            resources: Some(VolumeResourceRequirements { requests: Some(size), ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// What becomes of the claims of a StatefulSet.
pub(crate) fn claim_retention(delete: bool) -> StatefulSetPersistentVolumeClaimRetentionPolicy {
    StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_deleted: Some(if delete { "Delete" } else { "Retain" }.to_owned()),
        when_scaled: Some("Retain".to_owned()),
    }
}

/// A probe that runs a command.
pub(crate) fn exec_probe(command: &[&str]) -> Probe {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    Probe { exec: Some(ExecAction { command: Some(command) }), ..Default::default() }
}

/// A probe that asks for a path.
pub(crate) fn http_probe(path: &str, port: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(port.to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Sets how often a probe asks, how long it waits and how often it may fail.
pub(crate) fn every(probe: Probe, period_seconds: i32, timeout_seconds: i32, failures: i32) -> Probe {
    Probe {
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(timeout_seconds),
        failure_threshold: Some(failures),
        ..probe
    }
}
