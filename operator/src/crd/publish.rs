//! The CRDs as the API server takes them: structural schemas without number formats that Kubernetes does not know,
//! and without nulls, which the server then drops before rules such as `has(self.x)` look.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::{AnchorageCluster, PinNode};

/// Both definitions, in the order in which they are printed and installed.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    [AnchorageCluster::crd(), PinNode::crd()].into_iter().map(publishable).collect()
}

/// The name of the file that holds a definition.
#[must_use]
pub fn file_name(definition: &CustomResourceDefinition) -> String {
    format!("{}.yaml", definition.metadata.name.as_deref().unwrap_or_default())
}

/// One definition as a YAML document, with a comment that says where it comes from.
///
/// # Errors
/// When a definition cannot be written as YAML, which would be an error in this program.
pub fn yaml(definition: &CustomResourceDefinition) -> Result<String, serde_yaml::Error> {
    Ok(format!(
        "---\n# Generated from the Rust types by `anchorage-operator crds`. Do not edit: run `make crds`.\n{}",
        serde_yaml::to_string(definition)?
    ))
}

fn publishable(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut definition.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|validation| validation.open_api_v3_schema.as_mut()) {
            tidy(schema);
        }
    }
    definition
}

/// schemars writes `uint8`, `uint16`, … which Kubernetes warns about; bounds say the same. It also makes every optional
/// field nullable, and a rule cannot tell a null from a value.
fn tidy(schema: &mut JSONSchemaProps) {
    const KNOWN: [&str; 5] = ["int32", "int64", "date-time", "double", "float"];
    if schema.format.as_deref().is_some_and(|format| !KNOWN.contains(&format)) {
        schema.format = None;
    }
    schema.nullable = None;
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        tidy(property);
    }
    match schema.items.as_mut() {
        Some(JSONSchemaPropsOrArray::Schema(items)) => tidy(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(tidy),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        tidy(values);
    }
}
