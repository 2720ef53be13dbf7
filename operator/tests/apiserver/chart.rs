//! The chart, rendered by Helm: what it installs is what the tests' operators may do.

use std::process::Command;

use serde_json::Value;
use serde_yaml::Deserializer;

use crate::server::{server, tool};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/anchorage");

/// The objects of a release called `anchorage` in `namespace`.
pub(crate) fn rendered(namespace: &str, arguments: &[&str]) -> Result<Vec<Value>, String> {
    let output = Command::new(tool("helm"))
        .args(["template", "anchorage", CHART, "--namespace", namespace])
        .args(arguments)
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr).unwrap());
    }
    let documents = Deserializer::from_slice(&output.stdout);
    let objects = documents.map(|document| serde::Deserialize::deserialize(document).unwrap());
    Ok(objects.filter(|object: &Value| !object.is_null()).collect())
}

/// Installs everything of the chart but the CRDs into `namespace`.
pub(crate) fn install(namespace: &str) {
    for object in rendered(namespace, &["--set", "crds.install=false"]).unwrap() {
        server().apply(&["--namespace", namespace, "--warnings-as-errors"], &object.to_string()).unwrap();
    }
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

#[test]
fn definitions_are_templates_that_outlive_the_release() {
    let objects = rendered("anchorage", &[]).unwrap();
    let definitions = of_kind(&objects, "CustomResourceDefinition");
    assert_eq!(definitions.len(), 2);
    for definition in definitions {
        assert_eq!(definition["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
    let without = rendered("anchorage", &["--set", "crds.install=false"]).unwrap();
    assert!(of_kind(&without, "CustomResourceDefinition").is_empty());
}

#[test]
fn permissions_name_verbs_and_resources_and_never_list_secrets() {
    let objects = rendered("anchorage", &[]).unwrap();
    let rules: Vec<&Value> = objects
        .iter()
        .filter(|object| matches!(object["kind"].as_str(), Some("Role" | "ClusterRole")))
        .flat_map(|role| role["rules"].as_array().unwrap())
        .collect();
    let has = |rule: &Value, field: &str, word: &str| rule[field].as_array().unwrap().iter().any(|value| value == word);
    for rule in &rules {
        for field in ["verbs", "resources", "apiGroups"] {
            assert!(!has(rule, field, "*"), "{rule}");
        }
        let is_secret = has(rule, "resources", "secrets");
        assert!(!is_secret || !(has(rule, "verbs", "list") || has(rule, "verbs", "watch")), "{rule}");
    }
    assert!(!rules.is_empty());
}

#[test]
fn without_node_access_nothing_is_cluster_wide() {
    let objects = rendered("anchorage", &["--set", "nodeAccess.enabled=false", "--set", "crds.install=false"]).unwrap();
    let cluster_wide: Vec<&Value> =
        objects.iter().filter(|object| object["kind"].as_str().unwrap().starts_with("Cluster")).collect();
    assert!(cluster_wide.is_empty(), "{cluster_wide:?}");
}

#[test]
fn everything_is_marked_as_part_of_the_release() {
    for object in rendered("anchorage", &["--set", "crds.install=false"]).unwrap() {
        assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/instance"], "anchorage", "{object}");
    }
}

#[test]
fn a_mistyped_value_is_refused() {
    let refusal = rendered("anchorage", &["--set", "nodeAccess.enable=true"]).unwrap_err();
    assert!(refusal.contains("enable"), "{refusal}");
    let refusal = rendered("anchorage", &["--set", "log.format=xml"]).unwrap_err();
    assert!(refusal.contains("format"), "{refusal}");
}
