//! What is wrong with a pod, in words that name the thing and the cure.

use crate::views::{ContainerView, PodView};

/// Longest piece of a container's last words that goes into a condition.
const LAST_WORDS: usize = 600;

/// Why a pod does not come up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Condition reason.
    pub reason: &'static str,
    /// One or two sentences.
    pub message: String,
}

/// The trouble that `pod` is in, if it is in any that will not pass by itself.
#[must_use]
pub fn of(pod: &PodView) -> Option<Trouble> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    unscheduled(name, pod).or_else(|| pod.containers().find_map(|container| of_container(name, container)))
}

fn unscheduled(pod_name: &str, pod: &PodView) -> Option<Trouble> {
    let scheduled = pod.condition("PodScheduled").filter(|condition| condition.status == "False")?;
    let why = scheduled.message.as_deref().unwrap_or("the scheduler gives no reason");
    Some(Trouble { reason: "PodUnschedulable", message: format!("Pod {pod_name} fits on no Kubernetes Node: {why}") })
}

fn of_container(pod: &str, container: &ContainerView) -> Option<Trouble> {
    let waiting = container.state.waiting.clone().unwrap_or_default();
    let word = waiting.reason.as_deref().unwrap_or_default();
    let sentence = waiting.message.as_deref().unwrap_or(word);
    let (name, image) = (&container.name, &container.image);
    match word {
        "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" => Some(Trouble {
            reason: "ImagePullFailed",
            message: shortened(&format!(
                "Pod {pod}, container {name}: image {image} cannot be pulled. Check its name and that the nodes can reach its registry. {sentence}"
            )),
        }),
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => Some(Trouble {
            reason: "ContainerNotCreated",
            message: shortened(&format!("Pod {pod}, container {name} cannot be created: {sentence}")),
        }),
        _ => crashing(pod, container, word),
    }
}

/// A container that ended with an error and is started again and again, or is about to be.
fn crashing(pod: &str, container: &ContainerView, waiting: &str) -> Option<Trouble> {
    let ended = container.state.terminated.as_ref().filter(|ended| ended.exit_code != 0);
    let before = container.last_state.terminated.as_ref().filter(|ended| ended.exit_code != 0);
    let last = ended.or_else(|| before.filter(|_| waiting == "CrashLoopBackOff" || !container.ready))?;
    let why = match (last.message.as_deref().map(str::trim), last.reason.as_deref()) {
        (_, Some("OOMKilled")) => "it needed more memory than its limit allows; raise the limit".to_owned(),
        (Some(message), _) if !message.is_empty() => format!("it said: {}", tail(message)),
        _ => format!("it left no message; see `kubectl logs {pod} -c {} --previous`", container.name),
    };
    Some(Trouble {
        reason: "ContainerCrashing",
        message: format!("Pod {pod}, container {} ended with exit code {}: {why}", container.name, last.exit_code),
    })
}

/// The end of a log, where the reason usually is.
#[must_use]
pub fn tail(text: &str) -> &str {
    let start = text.char_indices().rev().nth(LAST_WORDS - 1).map_or(0, |(index, _)| index);
    text[start..].trim()
}

fn shortened(text: &str) -> String {
    text.chars().take(2 * LAST_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: serde_json::Value) -> PodView {
        serde_json::from_value(json!({ "metadata": { "name": "demo-0-0" }, "status": status })).unwrap()
    }

    #[test]
    fn a_missing_image_names_the_image() {
        let trouble = of(&pod(json!({ "containerStatuses": [{
            "name": "anchorage", "image": "anchorage/anchorge:1", "ready": false,
            "state": { "waiting": { "reason": "ErrImagePull", "message": "not found" } },
        }] })))
        .unwrap();
        assert_eq!(trouble.reason, "ImagePullFailed");
        assert!(trouble.message.contains("anchorage/anchorge:1"), "{}", trouble.message);
    }

    #[test]
    fn a_crash_loop_tells_the_last_words() {
        let trouble = of(&pod(json!({ "initContainerStatuses": [{
            "name": "kubo", "image": "kubo", "ready": false, "restartCount": 3,
            "state": { "waiting": { "reason": "CrashLoopBackOff" } },
            "lastState": { "terminated": { "exitCode": 1, "reason": "Error", "message": "Error: lock is held\n" } },
        }] })))
        .unwrap();
        assert_eq!(trouble.reason, "ContainerCrashing");
        assert!(trouble.message.ends_with("it said: Error: lock is held"), "{}", trouble.message);
    }

    #[test]
    fn a_container_that_recovered_is_no_trouble() {
        let pod = pod(json!({ "containerStatuses": [{
            "name": "anchorage", "image": "a", "ready": true, "restartCount": 1, "state": { "running": {} },
            "lastState": { "terminated": { "exitCode": 137, "reason": "OOMKilled" } },
        }] }));
        assert_eq!(of(&pod), None);
    }

    #[test]
    fn a_pod_that_fits_nowhere_tells_what_the_scheduler_says() {
        let trouble = of(&pod(json!({ "conditions": [
            { "type": "PodScheduled", "status": "False", "message": "0/4 nodes are available" },
        ] })))
        .unwrap();
        assert_eq!(trouble.reason, "PodUnschedulable");
        assert!(trouble.message.contains("0/4 nodes"), "{}", trouble.message);
    }

    #[test]
    fn last_words_are_cut_at_a_character() {
        let text = "ä".repeat(1000);
        assert_eq!(tail(&text).chars().count(), LAST_WORDS);
    }
}
