//! The Kubernetes nodes, which are containers of the host: the only place from which a program in a pod can be killed
//! without its pod's consent.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::anchorage::name;
use crate::namespace::text;
use crate::program::Program;

/// `kill -9` of the program `executable` in a pod, from the node that it runs on.
///
/// # Errors
/// When the node has no such program.
pub fn kill(pod: &Value, executable: &str) -> Result<()> {
    let node = text(&pod["spec"]["nodeName"]);
    let uid = text(&pod["metadata"]["uid"]);
    ensure!(!node.is_empty(), "pod {} is on no node", name(pod));
    // A pod's control group has its UID in its name, with dashes or underscores by cgroup driver.
    let script = r#"
        for folder in /proc/[0-9]*; do
          [ "$(readlink "$folder/exe")" = "$1" ] || continue
          grep -qE "$2|$(echo "$2" | tr - _)" "$folder/cgroup" || continue
          kill -9 "${folder#/proc/}" && echo killed
        done"#;
    let said = Program::new("docker").args(["exec", node, "bash", "-c", script, "kill", executable, uid]).run()?;
    ensure!(said.contains("killed"), "no {executable} of pod {} runs on {node}", name(pod));
    Ok(())
}

/// How often the container of a pod was started again.
///
/// # Errors
/// When the pod has no such container.
pub fn restarts(pod: &Value, container: &str) -> Result<u64> {
    let statuses = pod["status"]["containerStatuses"].as_array().context("the pod has no container status yet")?;
    let status = statuses
        .iter()
        .find(|status| status["name"] == container)
        .with_context(|| format!("no container {container}"))?;
    status["restartCount"].as_u64().context("restartCount is no number")
}
