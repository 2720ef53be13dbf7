//! One namespace of the cluster, spoken to through `kubectl`: what a user would type, with typed answers.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::lab::Lab;
use crate::program::Program;
use crate::wait;

/// A namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// The cluster that it is in.
    pub lab: Lab,
    /// Its name.
    pub name: String,
}

impl Namespace {
    /// The namespace `name` under the Pod Security standard `level`, made if it is not there.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn create(lab: &Lab, name: &str, level: &str) -> Result<Self> {
        let object = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": { "pod-security.kubernetes.io/enforce": level } },
        });
        lab.kubectl(["apply", "--server-side", "-f", "-"]).input(object.to_string()).run()?;
        Ok(Self { lab: lab.clone(), name: name.to_owned() })
    }

    /// `kubectl -n NAMESPACE ARGUMENTS`.
    pub fn kubectl<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Program {
        self.lab.kubectl(["-n", &self.name]).args(arguments)
    }

    /// Applies objects written as YAML or JSON.
    ///
    /// # Errors
    /// When the API server refuses one of them.
    pub fn apply(&self, objects: impl Into<Vec<u8>>) -> Result<()> {
        self.kubectl(["apply", "--server-side", "--force-conflicts", "-f", "-"]).input(objects).run().map(drop)
    }

    /// One object, named as `kind/name`.
    ///
    /// # Errors
    /// When it is not there.
    pub fn get(&self, object: &str) -> Result<Value> {
        parse(&self.kubectl(["get", object, "-o", "json"]).run()?)
    }

    /// All objects of the kinds, a comma list, that have the labels of `selector` (all, if it is empty).
    ///
    /// # Errors
    /// When a kind is unknown.
    pub fn list(&self, kinds: &str, selector: &str) -> Result<Vec<Value>> {
        let list = parse(&self.kubectl(["get", kinds, "-l", selector, "-o", "json"]).run()?)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until a Deployment or StatefulSet, named as `kind/name`, has rolled out.
    ///
    /// # Errors
    /// When it has not within `limit`.
    pub fn rolled_out(&self, object: &str, limit: Duration) -> Result<()> {
        wait::until(object, limit, || self.kubectl(["rollout", "status", object, "--timeout=1s"]).run().map(drop))
    }

    /// Waits until the condition `kind` of an object has `status` (`True`, `False`), and gives the condition.
    ///
    /// # Errors
    /// When it has not within `limit`: what the condition says instead.
    pub fn condition(&self, object: &str, kind: &str, status: &str, limit: Duration) -> Result<Value> {
        wait::until(&format!("{kind}={status} of {object}"), limit, || {
            let found = self.get(object)?;
            let condition = condition(&found, kind).with_context(|| format!("no condition {kind} yet"))?;
            if condition["status"] != status {
                bail!("{}: {}", text(&condition["reason"]), text(&condition["message"]));
            }
            Ok(condition.clone())
        })
    }

    /// Runs a command in a pod's container.
    pub fn exec<'a>(&self, pod: &'a str, container: &'a str, command: impl IntoIterator<Item = &'a str>) -> Program {
        self.kubectl(["exec", "-i", pod, "-c", container, "--"]).args(command)
    }

    /// Waits until no object of the kinds with the labels of `selector` is left.
    ///
    /// # Errors
    /// When some are left after `limit`: their names.
    pub fn gone(&self, kinds: &str, selector: &str, limit: Duration) -> Result<()> {
        wait::until(&format!("the end of everything with {selector}"), limit, || {
            let left = self.kubectl(["get", kinds, "-l", selector, "-o", "name", "--ignore-not-found"]).run()?;
            if left.is_empty() { Ok(()) } else { bail!("left: {}", left.replace('\n', " ")) }
        })
    }
}

/// The condition of that kind in an object's status.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// The text of a JSON string, or nothing.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn parse(json: &str) -> Result<Value> {
    serde_json::from_str(json).context("read what kubectl printed")
}
