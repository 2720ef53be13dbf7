//! Cases that were thought of, and properties of those that were not.

use super::*;
use Status::{Failed, Pinned, Pinning, Queued, Unpinning};
use proptest::prelude::*;
use uuid::Uuid;

const UP: Node = Node { is_live: true, takes: true, leaves: false };
const TWO: Need = Need { least: 2, most: 2 };

fn id(n: u8) -> NodeId {
    NodeId::from_uuid(Uuid::from_u128(u128::from(n)))
}

fn ids(of: &[u8]) -> Vec<NodeId> {
    of.iter().copied().map(id).collect()
}

fn copies(of: &[(u8, Status)]) -> Vec<Copy> {
    of.iter().map(|&(node, status)| Copy { node: id(node), status, may_retry: false }).collect()
}

fn add(n: u8) -> Step {
    Step::Add { node: id(n), failed: false }
}

fn steps(homes: &[u8], placed: &[(u8, Status)], node: impl Fn(u8) -> Node) -> Vec<Step> {
    let node = |id: NodeId| node(u8::try_from(id.uuid().as_u128()).unwrap());
    arrange(&ids(homes), TWO, &copies(placed), node, Vec::new).steps
}

#[test]
fn a_copy_is_made_before_the_old_one_is_let_go() {
    let up = |_| UP;
    assert_eq!(steps(&[1, 3], &[(1, Pinned), (2, Pinned)], up), [add(3)]);
    assert_eq!(steps(&[1, 3], &[(1, Pinned), (2, Pinned), (3, Queued)], up), []);
    assert_eq!(steps(&[1, 3], &[(1, Pinned), (2, Pinned), (3, Pinning)], up), []);
    assert_eq!(steps(&[1, 3], &[(1, Pinned), (2, Pinned), (3, Pinned)], up), [Step::Release(id(2))]);
    assert_eq!(steps(&[1, 3], &[(1, Pinned), (2, Unpinning), (3, Pinned)], up), []);
    let done = arrange(&ids(&[1, 3]), TWO, &copies(&[(1, Pinned), (3, Pinned)]), |_| UP, Vec::new);
    assert_eq!(done, Arrangement { steps: vec![], is_settled: true });
}

#[test]
fn what_holds_is_not_let_go_while_a_new_holder_is_away_or_has_failed_and_too_few_remain() {
    let three_is_away = |n| Node { is_live: n != 3, ..UP };
    assert_eq!(steps(&[1, 3], &[(1, Pinned), (2, Pinned), (3, Pinned)], three_is_away), []);
    assert_eq!(steps(&[1, 3], &[(1, Pinned), (2, Pinned), (3, Failed)], |_| UP), []);
    assert_eq!(steps(&[1], &[(1, Pinned), (2, Pinned)], |_| UP), [], "one is fewer than its pins need");
    assert_eq!(steps(&[], &[(1, Pinned), (2, Pinned)], |_| UP), []);
}

#[test]
fn with_enough_copies_one_that_cannot_be_made_holds_up_no_drain_and_costs_no_other_copy() {
    let need = Need { least: 2, most: 3 };
    let away = Node { is_live: false, ..UP };
    let full = Node { takes: false, ..UP };
    let draining = Node { takes: false, leaves: true, ..UP };
    let failed = copies(&[(1, Pinned), (2, Pinned), (3, Failed), (4, Pinned)]);
    let lacking = copies(&[(1, Pinned), (2, Pinned), (4, Pinned)]);
    for (placed, third) in [(&failed, UP), (&lacking, away), (&lacking, full)] {
        let with = |fourth| {
            let node = |node: NodeId| {
                if node == id(3) {
                    third
                } else if node == id(4) {
                    fourth
                } else {
                    UP
                }
            };
            arrange(&ids(&[1, 2, 3]), need, placed, node, Vec::new).steps
        };
        assert_eq!(with(UP), []);
        assert_eq!(with(full), [], "it keeps what it has");
        assert_eq!(with(draining), [Step::Release(id(4))]);
        assert_eq!(with(away), [Step::Release(id(4))]);
    }
    // One stands in for one, and rather who holds it than who is about to.
    let placed = copies(&[(1, Pinned), (2, Pinned), (4, Queued), (5, Pinned), (6, Pinned)]);
    let node = |node: NodeId| if node == id(3) { full } else { UP };
    assert_eq!(
        arrange(&ids(&[1, 2, 3]), need, &placed, node, Vec::new).steps,
        [Step::Release(id(4)), Step::Release(id(6))]
    );
}

#[test]
fn a_node_that_is_emptied_waits_for_no_home_that_takes_nothing() {
    let draining = Node { takes: false, leaves: true, ..UP };
    let steps = |placed: &[(u8, Status)], third: Node| {
        let node = |node: NodeId| {
            if node == id(2) {
                draining
            } else if node == id(3) {
                third
            } else {
                UP
            }
        };
        arrange(&ids(&[1, 3]), TWO, &copies(placed), node, || ids(&[2, 3, 1, 4, 5])).steps
    };
    let cordoned = Node { takes: false, ..UP };
    assert_eq!(steps(&[(1, Pinned), (2, Pinned)], cordoned), [add(4)]);
    assert_eq!(steps(&[(1, Pinned), (2, Pinned), (4, Queued)], cordoned), []);
    assert_eq!(steps(&[(1, Pinned), (2, Pinned), (4, Pinned)], cordoned), [Step::Release(id(2))]);
    assert_eq!(steps(&[(1, Pinned), (4, Pinned)], cordoned), []);
    // What a home in maintenance holds cannot be had from it now.
    let away = Node { is_live: false, ..cordoned };
    assert_eq!(steps(&[(1, Pinned), (2, Pinned), (3, Pinned)], away), [add(4)]);
    // One that is silent comes back, or is no home any more.
    assert_eq!(steps(&[(1, Pinned), (2, Pinned)], Node { is_live: false, ..UP }), []);
    // When the home takes it at last, nobody stands in any more.
    assert_eq!(steps(&[(1, Pinned), (4, Pinned)], UP), [add(3)]);
    assert_eq!(steps(&[(1, Pinned), (3, Pinned), (4, Pinned)], UP), [Step::Release(id(4))]);
}

#[test]
fn nothing_is_added_where_nothing_new_is_taken_or_nobody_is() {
    for state in [Node { takes: false, ..UP }, Node { is_live: false, ..UP }] {
        let node = |n| if n == 3 { state } else { UP };
        assert_eq!(steps(&[1, 3], &[(1, Pinned), (2, Pinned)], node), []);
    }
}

#[test]
fn a_pin_that_is_still_looked_for_goes_with_its_home() {
    assert_eq!(steps(&[1, 3], &[(1, Queued), (2, Queued)], |_| UP), [add(3), Step::Release(id(2))]);
    // 2 stands in for 3 as long as that is away.
    assert_eq!(steps(&[1, 3], &[(1, Pinned), (2, Queued)], |n| Node { is_live: n != 3, ..UP }), []);
    // What is being fetched may be all that there is of it.
    assert_eq!(steps(&[1, 3], &[(1, Queued), (2, Pinning)], |_| UP), [add(3)]);
}

#[test]
fn what_was_given_up_moves_as_it_is() {
    let failed = Step::Add { node: id(3), failed: true };
    assert_eq!(steps(&[1, 3], &[(1, Failed), (2, Failed)], |_| UP), [failed, Step::Release(id(2))]);
}

#[test]
fn a_cancelled_move_leaves_what_holds_and_takes_back_what_was_begun() {
    let placed = [(1, Pinned), (2, Pinned), (3, Queued)];
    assert_eq!(steps(&[1, 2], &placed, |_| UP), [Step::Release(id(3))]);
    let placed = [(1, Pinned), (2, Unpinning), (3, Pinned)];
    assert_eq!(steps(&[1, 2], &placed, |_| UP), [Step::Restore(id(2))]);
}

#[test]
fn what_is_being_let_go_comes_back_when_too_few_are_left() {
    let placed = [(1, Pinned), (2, Unpinning), (3, Pinned)];
    assert_eq!(steps(&[1, 3], &placed, |n| Node { is_live: n != 3, ..UP }), [Step::Restore(id(2))]);
}

#[test]
fn a_copy_that_failed_is_tried_again_when_there_is_somebody_to_have_it_from() {
    let failed = Copy { may_retry: true, ..copies(&[(3, Failed)])[0] };
    let of = |status| vec![copies(&[(1, status)])[0], failed];
    assert_eq!(arrange(&ids(&[1, 3]), TWO, &of(Pinned), |_| UP, Vec::new).steps, [Step::Restore(id(3))]);
    assert_eq!(arrange(&ids(&[1, 3]), TWO, &of(Failed), |_| UP, Vec::new).steps, []);
    // Until then it is looked at again.
    let resting = copies(&[(1, Pinned), (3, Failed)]);
    assert_eq!(
        arrange(&ids(&[1, 3]), TWO, &resting, |_| UP, Vec::new),
        Arrangement { steps: vec![], is_settled: false }
    );
}

#[test]
fn placements_of_a_node_that_is_gone_for_good_are_struck_out_once_others_hold_it() {
    let gone = |n| if n == 2 { Node { leaves: true, ..Node::default() } } else { UP };
    assert_eq!(steps(&[1, 3], &[(1, Pinned), (2, Pinned)], gone), [add(3)]);
    assert_eq!(steps(&[1, 3], &[(1, Pinned), (2, Pinned), (3, Pinned)], gone), [Step::Release(id(2))]);
    assert_eq!(steps(&[1, 3], &[(1, Pinned), (2, Unpinning), (3, Pinned)], gone), [Step::Forget(id(2))]);
}

/// What the steps make of the placements.
fn apply(copies: &[Copy], steps: &[Step]) -> Vec<Copy> {
    let mut copies = copies.to_vec();
    for step in steps {
        match *step {
            Step::Add { node, failed } => {
                copies.push(Copy { node, status: if failed { Failed } else { Queued }, may_retry: false });
            }
            Step::Release(node) => set(&mut copies, node, Unpinning),
            Step::Restore(node) => set(&mut copies, node, Queued),
            Step::Forget(node) => copies.retain(|copy| copy.node != node),
        }
    }
    copies
}

fn set(copies: &mut [Copy], node: NodeId, status: Status) {
    for copy in copies.iter_mut().filter(|copy| copy.node == node) {
        copy.status = status;
        copy.may_retry = false;
    }
}

/// The nodes do what is asked of them.
fn work(copies: &mut Vec<Copy>, node: impl Fn(NodeId) -> Node) {
    copies.retain(|copy| copy.status != Unpinning || !node(copy.node).is_live);
    for copy in copies.iter_mut().filter(|copy| node(copy.node).is_live) {
        if matches!(copy.status, Queued | Pinning) {
            copy.status = Pinned;
        }
    }
}

fn any_status() -> impl Strategy<Value = Status> {
    prop::sample::select(vec![Queued, Pinning, Pinned, Failed, Unpinning])
}

fn any_node() -> impl Strategy<Value = Node> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(is_live, takes, leaves)| Node {
        is_live,
        takes,
        leaves: leaves && !takes,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_step_takes_a_content_below_its_minimum_and_steps_once_taken_are_not_asked_for_again(
        homes in prop::sample::subsequence((0u8..6).collect::<Vec<_>>(), 0..=4).prop_shuffle(),
        placed in prop::collection::btree_map(0u8..6, (any_status(), any::<bool>()), 0..6),
        nodes in prop::collection::vec(any_node(), 6),
        least in 1usize..4,
        more in 0usize..2,
    ) {
        let need = Need { least, most: least + more };
        let node = |id: NodeId| nodes[usize::try_from(id.uuid().as_u128()).unwrap()];
        let before: Vec<_> = placed.iter()
            .map(|(&n, &(status, may_retry))| Copy { node: id(n), status, may_retry: may_retry && status == Failed })
            .collect();
        let homes = ids(&homes);
        let spares = || ids(&[5, 4, 3, 2, 1, 0]);
        let first = arrange(&homes, need, &before, node, spares);
        let holders = |copies: &[Copy]| copies.iter().filter(|c| c.status == Pinned && node(c.node).is_live).count();
        let after = apply(&before, &first.steps);
        prop_assert!(holders(&after) >= holders(&before).min(least), "{:?}", first);
        let stay = |copies: &[Copy]| {
            copies.iter().filter(|c| c.status == Pinned && node(c.node).is_live && !node(c.node).leaves).count()
        };
        prop_assert!(stay(&after) >= stay(&before).min(homes.len()).min(need.most), "{:?}", first);
        for step in &first.steps {
            if let Step::Add { node: to, .. } = step {
                let drains = before.iter().any(|c| node(c.node).leaves);
                prop_assert!(node(*to).takes && node(*to).is_live && (homes.contains(to) || drains), "{:?}", first);
            }
        }
        // A release may be followed by striking out what a node that is gone would have to let go; then there is nothing.
        let mut again = after;
        for _ in 0..3 {
            again = apply(&again, &arrange(&homes, need, &again, node, spares).steps);
        }
        prop_assert_eq!(arrange(&homes, need, &again, node, spares).steps, vec![]);
    }

    #[test]
    fn what_is_to_be_emptied_ends_empty_where_enough_others_take_what_is_new(
        homes in prop::sample::subsequence(vec![1u8, 2, 3, 4, 5], 2..=3).prop_shuffle(),
        placed in prop::collection::btree_map(1u8..6, any_status(), 0..6),
        there in prop::sample::select(vec![Pinned, Queued, Pinning, Failed]),
        unable in prop::sample::subsequence(vec![1u8, 2, 3, 4, 5], 0..=3),
        unable_lives in any::<bool>(),
    ) {
        let homes = ids(&homes);
        let node = |node: NodeId| match u8::try_from(node.uuid().as_u128()).unwrap() {
            0 => Node { takes: false, leaves: true, ..UP },
            n if unable.contains(&n) => Node { takes: false, is_live: unable_lives, ..UP },
            _ => UP,
        };
        let mut copies = copies(&[vec![(0, there)], placed.into_iter().collect()].concat());
        for _ in 0..8 {
            let steps = arrange(&homes, TWO, &copies, node, || ids(&[1, 2, 3, 4, 5])).steps;
            copies = apply(&copies, &steps);
            work(&mut copies, node);
            for copy in copies.iter_mut().filter(|copy| copy.status == Failed) {
                copy.may_retry = true;
            }
        }
        prop_assert!(copies.iter().all(|copy| copy.node != id(0)), "{:?}", copies);
    }

    #[test]
    fn where_all_live_and_take_a_content_ends_on_its_homes_alone(
        homes in prop::sample::subsequence((0u8..6).collect::<Vec<_>>(), 2..=3).prop_shuffle(),
        placed in prop::collection::btree_map(0u8..6, any_status(), 1..6),
    ) {
        let homes = ids(&homes);
        let mut copies = copies(&placed.into_iter().collect::<Vec<_>>());
        prop_assume!(copies.iter().any(|copy| matches!(copy.status, Queued | Pinning | Pinned)));
        for _ in 0..6 {
            let steps = arrange(&homes, TWO, &copies, |_| UP, Vec::new).steps;
            copies = apply(&copies, &steps);
            work(&mut copies, |_| UP);
            for copy in copies.iter_mut().filter(|copy| copy.status == Failed) {
                copy.may_retry = true;
            }
        }
        let mut on: Vec<_> = copies.iter().map(|copy| copy.node.uuid()).collect();
        on.sort();
        let mut expected: Vec<_> = homes.iter().take(TWO.most).map(|home| home.uuid()).collect();
        expected.sort();
        prop_assert_eq!(on, expected);
        prop_assert!(arrange(&homes, TWO, &copies, |_| UP, Vec::new).is_settled);
    }
}
