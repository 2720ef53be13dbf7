//! Taking turns: of the pods of a cluster that are well, one is replaced at a time.

use std::collections::HashMap;
use std::sync::Mutex;

/// Whose turn it is, per cluster. Kept in memory only: after a restart the first one that asks while all others are well
/// gets the turn.
#[derive(Default)]
pub struct Rollouts(Mutex<HashMap<String, String>>);

impl Rollouts {
    /// Whether `node` may be replaced now. `is_settled` tells whether another PinNode is up to date with what was last
    /// applied to it and ready; `siblings` are all PinNodes of the cluster.
    pub fn may_begin<'a>(
        &self,
        cluster: &str,
        node: &str,
        siblings: impl IntoIterator<Item = &'a str>,
        is_settled: impl Fn(&str) -> bool,
    ) -> bool {
        let mut turns = self.0.lock().expect("nothing panics while it holds this lock");
        let taken = turns.get(cluster).is_some_and(|holder| holder != node && !is_settled(holder));
        let all_well = siblings.into_iter().all(|sibling| sibling == node || is_settled(sibling));
        let may = !taken && all_well;
        if may {
            turns.insert(cluster.to_owned(), node.to_owned());
        }
        may
    }

    /// `node` left the cluster; it holds no turn any more.
    pub fn forget(&self, cluster: &str, node: &str) {
        let mut turns = self.0.lock().expect("nothing panics while it holds this lock");
        if turns.get(cluster).is_some_and(|holder| holder == node) {
            turns.remove(cluster);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_begins_when_the_one_before_is_settled() {
        let rollouts = Rollouts::default();
        let nodes = ["a", "b"];
        assert!(rollouts.may_begin("demo", "a", nodes, |_| true));
        // "a" was just applied: the watch may not show it yet, but its turn is known.
        assert!(!rollouts.may_begin("demo", "b", nodes, |node| node != "a"));
        assert!(rollouts.may_begin("demo", "b", nodes, |_| true));
        assert!(rollouts.may_begin("other", "x", ["x"], |_| true), "clusters do not wait for each other");
    }

    #[test]
    fn nobody_is_replaced_while_another_is_unwell() {
        let rollouts = Rollouts::default();
        assert!(!rollouts.may_begin("demo", "a", ["a", "b"], |node| node != "b"));
    }
}
