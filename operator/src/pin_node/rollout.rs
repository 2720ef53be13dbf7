//! Taking turns: of the pods of a cluster that are well, one is replaced at a time.

use std::collections::HashMap;
use std::sync::Mutex;

/// Whose turn it is, per cluster. Kept in memory only: after a restart the first one that asks while all others are well
/// gets the turn.
#[derive(Default)]
pub struct Rollouts(Mutex<HashMap<String, Turn>>);

struct Turn {
    node: String,
    /// Generation of the StatefulSet that the turn made. Until a watch shows it, the node only looks settled.
    generation: i64,
}

impl Rollouts {
    /// Whether `node` may be replaced now; if so it holds the turn, until [`Self::applied`] and then until it is settled.
    /// `is_settled` tells whether a PinNode's StatefulSet is up to date and ready at a generation of at least the one
    /// given; `siblings` are all PinNodes of the cluster.
    pub fn may_begin<'a>(
        &self,
        cluster: &str,
        node: &str,
        siblings: impl IntoIterator<Item = &'a str>,
        is_settled: impl Fn(&str, i64) -> bool,
    ) -> bool {
        let mut turns = self.locked();
        let taken =
            turns.get(cluster).is_some_and(|turn| turn.node != node && !is_settled(&turn.node, turn.generation));
        // While the turn is taken, which is the usual answer, the siblings need not be looked at.
        let may = !taken && siblings.into_iter().all(|sibling| sibling == node || is_settled(sibling, 0));
        if may {
            // Nobody else begins before the apply has an answer.
            turns.insert(cluster.to_owned(), Turn { node: node.to_owned(), generation: i64::MAX });
        }
        may
    }

    /// The turn of `node` led to this generation of its StatefulSet.
    pub fn applied(&self, cluster: &str, node: &str, generation: i64) {
        if let Some(turn) = self.locked().get_mut(cluster).filter(|turn| turn.node == node) {
            turn.generation = generation;
        }
    }

    /// `node` holds no turn any more: it left, or nothing came of its turn.
    pub fn forget(&self, cluster: &str, node: &str) {
        let mut turns = self.locked();
        if turns.get(cluster).is_some_and(|turn| turn.node == node) {
            turns.remove(cluster);
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<String, Turn>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [&str; 2] = ["a", "b"];

    #[test]
    fn the_next_begins_when_the_one_before_is_settled() {
        let rollouts = Rollouts::default();
        // What the watches show: both at generation 1 and well.
        let stale = |_: &str, least: i64| least <= 1;
        assert!(rollouts.may_begin("demo", "a", NODES, stale));
        assert!(!rollouts.may_begin("demo", "b", NODES, stale), "the apply is under way");
        rollouts.applied("demo", "a", 2);
        assert!(!rollouts.may_begin("demo", "b", NODES, stale), "the watch has not seen the apply");
        assert!(rollouts.may_begin("demo", "b", NODES, |_, least| least <= 2));
        assert!(rollouts.may_begin("other", "x", ["x"], stale), "clusters do not wait for each other");
    }

    #[test]
    fn nobody_is_replaced_while_another_is_unwell() {
        let rollouts = Rollouts::default();
        assert!(!rollouts.may_begin("demo", "a", NODES, |node, _| node != "b"));
    }

    #[test]
    fn a_turn_that_came_to_nothing_is_free_again() {
        let rollouts = Rollouts::default();
        assert!(rollouts.may_begin("demo", "a", NODES, |_, least| least <= 1));
        rollouts.forget("demo", "a");
        assert!(rollouts.may_begin("demo", "b", NODES, |_, least| least <= 1));
    }
}
