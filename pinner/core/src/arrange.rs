//! What to do about one content so that it comes to be where the placement map wants it: make before break.
//!
//! [`arrange`] looks at where a content is placed, at the nodes it belongs on and at what its pins need, and says which
//! copies to add, to let go, to bring back. It is asked again whenever something may have changed, and says the same
//! as long as nothing has; when what it says was done, it says nothing more. Whoever does it checks in the same
//! transaction that the content's placements are still those that were looked at.
//!
//! **What holds of every step**: nothing that holds the content is let go before `least` of the nodes it belongs on hold
//! it and live, and before every one of them that can get it has it. As long as one that it belongs on lacks it, another
//! that has it stands in, unless that one is to be emptied; and where a node that is to be emptied waits for a home that takes
//! nothing new, another is found to stand in. Nothing is added to a node that takes nothing new, or that is not there.

use crate::id::NodeId;

/// How far a placement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Waits for the node.
    Queued,
    /// The node fetches it.
    Pinning,
    /// The node holds it.
    Pinned,
    /// The node gave up.
    Failed,
    /// The node is to let it go.
    Unpinning,
}

/// A placement of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Copy {
    /// On which node.
    pub node: NodeId,
    /// How far it is.
    pub status: Status,
    /// Of a failed one: whether it has rested long enough, and failed for no reason of its own, to be tried again.
    pub may_retry: bool,
}

/// What matters about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Node {
    /// Its Kubo answered lately: what it holds can be had from it.
    pub is_live: bool,
    /// It takes what is new: nobody cordoned or drains it, and its disk has room.
    pub takes: bool,
    /// It is to be emptied.
    pub leaves: bool,
}

/// What a content's pins ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Need {
    /// On so many nodes it must be: the most that any pin has as its minimum.
    pub least: usize,
    /// On so many nodes it should be: the most that any pin asks for.
    pub most: usize,
}

/// One change to a content's placements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Place it on this node. With `failed`, as one that was given up: nobody has it, and looking for it once more is not
    /// for us to decide.
    Add {
        /// On which node.
        node: NodeId,
        /// Whether it is given up at once.
        failed: bool,
    },
    /// Have this node let it go.
    Release(NodeId),
    /// Have this node hold it after all, or try again.
    Restore(NodeId),
    /// Strike out the placement of a node that is gone for good.
    Forget(NodeId),
}

impl Step {
    /// On which node.
    pub fn node(&self) -> NodeId {
        match *self {
            Self::Add { node, .. } | Self::Release(node) | Self::Restore(node) | Self::Forget(node) => node,
        }
    }
}

/// What is to be done about a content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arrangement {
    /// The changes, one for each node at most.
    pub steps: Vec<Step>,
    /// It is on the nodes it belongs on, and whoever else has it knows that it is to be let go: it need not be looked at
    /// again until something else changes.
    pub is_settled: bool,
}

/// Decides about a content. `homes` are the nodes of its partition in the map's order; `copies` has one for each node at
/// most; `node` knows every node that these name, and those that `spares` gives: whoever could stand in for a home, best
/// first.
pub fn arrange(
    homes: &[NodeId],
    need: Need,
    copies: &[Copy],
    node: impl Fn(NodeId) -> Node,
    spares: impl FnOnce() -> Vec<NodeId>,
) -> Arrangement {
    let homes = &homes[..homes.len().min(need.most)];
    let of = |id: NodeId| copies.iter().find(|copy| copy.node == id);
    let is_held = |copy: &Copy| copy.status == Status::Pinned;
    let held_somewhere = copies.iter().any(is_held);
    let all_failed = !copies.is_empty()
        && copies.iter().all(|copy| matches!(copy.status, Status::Failed | Status::Unpinning))
        && copies.iter().any(|copy| copy.status == Status::Failed);

    let mut steps = Vec::new();
    // A home that lives and will have the content, but has not yet.
    let mut is_under_way = false;
    for &home in homes {
        let state = node(home);
        let step = match of(home).map(|copy| (copy.status, copy.may_retry)) {
            None if state.takes && state.is_live => Some(Step::Add { node: home, failed: all_failed }),
            Some((Status::Unpinning, _)) => Some(Step::Restore(home)),
            Some((Status::Failed, true)) if held_somewhere => Some(Step::Restore(home)),
            _ => None,
        };
        let begun = of(home).is_some_and(|copy| matches!(copy.status, Status::Queued | Status::Pinning));
        let fails = matches!(step, Some(Step::Add { failed: true, .. }));
        is_under_way |= state.is_live && !fails && (begun || step.is_some());
        steps.extend(step);
    }

    let stand_ins = stand_ins(homes, copies, &node);
    let stays = |id: &NodeId| homes.contains(id) || stand_ins.contains(id);
    let held = copies.iter().filter(|copy| is_held(copy) && node(copy.node).is_live && stays(&copy.node)).count();
    let is_kept = held >= need.least && held > 0;
    // Every home carries on with it, so a placement elsewhere that holds nothing is of no use.
    let is_carried = !homes.is_empty()
        && homes.iter().all(|&home| {
            let has_it =
                of(home).is_some() || steps.iter().any(|step| matches!(step, Step::Add { node, .. } if *node == home));
            has_it && node(home).is_live
        });
    let live_holders = copies.iter().filter(|copy| is_held(copy) && node(copy.node).is_live).count();
    // Others that held it are gone: better two too many than one too few.
    let is_in_danger = held_somewhere && live_holders < need.least;
    let can_go = is_kept && !is_under_way;
    let is_elsewhere = |copy: &Copy| {
        let carries = |other: &Copy| other.status != Status::Unpinning && !node(other.node).leaves;
        copies.iter().any(|other| other.node != copy.node && carries(other))
    };
    for copy in copies.iter().filter(|copy| !homes.contains(&copy.node)) {
        let state = node(copy.node);
        steps.extend(match copy.status {
            Status::Failed if can_go || (state.leaves && is_elsewhere(copy)) => Some(Step::Release(copy.node)),
            Status::Queued | Status::Failed if is_carried && !is_in_danger => Some(Step::Release(copy.node)),
            _ if stand_ins.contains(&copy.node) => None,
            Status::Queued | Status::Pinning | Status::Pinned if can_go => Some(Step::Release(copy.node)),
            Status::Unpinning if state.is_live && is_in_danger => Some(Step::Restore(copy.node)),
            Status::Unpinning if state.leaves && !state.is_live => Some(Step::Forget(copy.node)),
            _ => None,
        });
    }
    // A node that is to be emptied is stuck when a home neither has the content nor takes it, and nobody who could stand in
    // is about to have it.
    let awaits =
        |home: &NodeId| !node(*home).takes && !of(*home).is_some_and(|copy| is_held(copy) && node(*home).is_live);
    let waits = |copy: &Copy| {
        let is_stuck = is_held(copy) || (copy.status == Status::Failed && !is_elsewhere(copy));
        node(copy.node).leaves && !homes.contains(&copy.node) && is_stuck
    };
    let is_found = stand_ins.iter().all(|id| of(*id).is_some_and(is_held));
    if !is_kept && !is_under_way && is_found && homes.iter().any(awaits) && copies.iter().any(waits) {
        let wanted = need.least.min(homes.len()).saturating_sub(held);
        let fits = |id: &NodeId| node(*id).takes && node(*id).is_live && !homes.contains(id);
        let found = spares().into_iter().filter(fits).filter_map(|node| match of(node) {
            None => Some(Step::Add { node, failed: all_failed }),
            Some(copy) => (copy.status == Status::Failed && copy.may_retry).then_some(Step::Restore(node)),
        });
        let found: Vec<_> = found.take(wanted).collect();
        steps.retain(|step| !found.iter().any(|found| found.node() == step.node()));
        steps.extend(found);
    }
    // One that was given up is tried again once it has rested.
    let is_resting =
        held_somewhere && homes.iter().any(|&home| of(home).is_some_and(|copy| copy.status == Status::Failed));
    let is_left = |copy: &Copy| homes.contains(&copy.node) || copy.status == Status::Unpinning;
    let is_settled = steps.is_empty()
        && !is_resting
        && !homes.is_empty()
        && homes.iter().all(|&home| of(home).is_some())
        && copies.iter().all(is_left);
    Arrangement { steps, is_settled }
}

/// Who has a content, or is about to, in the place of homes that lack it: one for each, those that hold it first.
fn stand_ins(homes: &[NodeId], copies: &[Copy], node: impl Fn(NodeId) -> Node) -> Vec<NodeId> {
    let with = |statuses: &'static [Status]| {
        let stays = |id: &NodeId| node(*id).is_live && !node(*id).leaves;
        copies.iter().filter(|copy| statuses.contains(&copy.status)).map(|copy| copy.node).filter(stays)
    };
    let at_home = with(&[Status::Pinned]).filter(|id| homes.contains(id)).count();
    with(&[Status::Pinned])
        .chain(with(&[Status::Queued, Status::Pinning]))
        .filter(|id| !homes.contains(id))
        .take(homes.len() - at_home)
        .collect()
}

#[cfg(test)]
mod tests;
