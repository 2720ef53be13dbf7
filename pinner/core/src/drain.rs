//! How a drain gets on: what it waits for, and when it should be done.

use std::time::Duration;

/// What a drain depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surroundings {
    /// Moves wait for the end of a pause.
    pub is_paused: bool,
    /// Somebody plans and moves.
    pub is_led: bool,
    /// Other nodes that live and take what is new.
    pub takers: usize,
    /// Other nodes that keep what they hold: takers, and those that are cordoned or silent for less than their grace.
    pub keepers: usize,
    /// On so many nodes a content must be.
    pub least: usize,
    /// What is on the node can be had from it.
    pub answers: bool,
    /// Uploads to the node that are wanted and that no other node has fetched.
    pub uploads: u64,
}

/// Why placements stay on a node that is to be emptied, or why it is not empty without any; nothing when they go as fast as
/// they can.
pub fn blocked_by(remaining: u64, around: Surroundings) -> Vec<String> {
    let Surroundings { is_paused, is_led, takers, keepers, least, answers, uploads } = around;
    let waiting = (uploads > 0).then(|| match uploads {
        1 => "1 upload waits until another node has fetched it".to_owned(),
        uploads => format!("{uploads} uploads wait until other nodes have fetched them"),
    });
    if remaining == 0 {
        return waiting.into_iter().collect();
    }
    let mut why = Vec::new();
    if is_paused {
        why.push("the fleet is paused for maintenance; the drain goes on when that ends".to_owned());
    }
    if !is_led {
        why.push("no pinner leads the fleet, so nothing moves: look whether the pinners reach NATS".to_owned());
    }
    if keepers < least {
        let nodes = if keepers == 1 { "node" } else { "nodes" };
        why.push(format!(
            "only {keepers} other {nodes} can hold contents, and each must be on {least} (replication.min): \
             add nodes, uncordon some, or cancel the drain"
        ));
    } else if takers < least.max(1) {
        let nodes = match takers {
            0 => "no other node takes".to_owned(),
            1 => "only 1 other node takes".to_owned(),
            n => format!("only {n} other nodes take"),
        };
        why.push(format!(
            "{nodes} anything new, and contents must be on {least} (replication.min): uncordon nodes, make room on their \
             disks, end their maintenance, or add nodes"
        ));
    }
    if !answers {
        why.push(
            "the node or its Kubo does not answer; what others hold goes on, what only it holds waits until it is back"
                .to_owned(),
        );
    }
    why.extend(waiting);
    why
}

/// How long a drain still takes if it goes on as it went, after `elapsed`; nothing before it has moved anything.
pub fn time_left(total: u64, remaining: u64, elapsed: Duration) -> Option<Duration> {
    let done = total.checked_sub(remaining).filter(|done| *done > 0)?;
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * remaining as f64 / done as f64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: Surroundings =
        Surroundings { is_paused: false, is_led: true, takers: 2, keepers: 2, least: 2, answers: true, uploads: 0 };

    #[test]
    fn a_drain_that_cannot_get_on_says_what_to_change() {
        assert_eq!(blocked_by(9, FREE), Vec::<String>::new());
        assert_eq!(blocked_by(0, Surroundings { is_paused: true, ..FREE }), Vec::<String>::new());
        for (around, word) in [
            (Surroundings { is_paused: true, ..FREE }, "maintenance"),
            (Surroundings { is_led: false, ..FREE }, "NATS"),
            (Surroundings { takers: 0, ..FREE }, "no other node takes"),
            (Surroundings { takers: 1, ..FREE }, "only 1 other node takes"),
            (Surroundings { answers: false, ..FREE }, "its Kubo does not answer"),
            (Surroundings { takers: 1, keepers: 1, ..FREE }, "only 1 other node can hold"),
        ] {
            let why = blocked_by(9, around);
            assert!(why.len() == 1 && why[0].contains(word), "{why:?}");
        }
    }

    #[test]
    fn uploads_that_nobody_else_has_are_waited_for_after_the_last_placement() {
        let around = |uploads| Surroundings { is_led: false, uploads, ..FREE };
        assert_eq!(blocked_by(0, around(1)), ["1 upload waits until another node has fetched it"]);
        let why = blocked_by(9, around(2));
        assert!(why.len() == 2 && why[1] == "2 uploads wait until other nodes have fetched them", "{why:?}");
    }

    #[test]
    fn a_drain_is_expected_to_go_on_as_it_went() {
        let minute = Duration::from_secs(60);
        assert_eq!(time_left(100, 75, minute), Some(3 * minute));
        assert_eq!(time_left(100, 0, minute), Some(Duration::ZERO));
        assert_eq!(time_left(100, 100, minute), None);
        assert_eq!(time_left(100, 120, minute), None);
    }
}
