//! Whether tables and Kubos agree once nothing disturbs them: every pin pinned, every content on enough real Kubos, nothing
//! anywhere else, counters exact. Until they do the service is not at rest; what is left at the end is broken.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::{State, Violation};

const PINNED: &str = "a pin does not become pinned";
const COPIES: &str = "a content is pinned in too few Kubos";
const MISSING: &str = "a placement says pinned and its Kubo does not hold it";
const SURPLUS: &str = "a Kubo holds what no placement says";
const REST: &str = "the fleet does not come to rest";
const COUNTERS: &str = "a counter is not exact";

/// What is not as it is at rest.
pub fn check(state: &State) -> Vec<Violation> {
    let mut found = Vec::new();
    let nobody = BTreeSet::new();
    let mut holders: BTreeMap<&str, usize> = BTreeMap::new();
    for content in state.held.values().flatten() {
        *holders.entry(content).or_default() += 1;
    }
    for pin in &state.pins {
        if pin.status != "pinned" {
            found.push(Violation::new(PINNED, format!("{} of {} is {}", pin.name, pin.content, pin.status)));
        }
        let held = holders.get(pin.content.as_str()).copied().unwrap_or(0);
        if held < pin.copies_min {
            let what = format!("{} of {}: {held} instead of {}", pin.content, pin.name, pin.copies_min);
            found.push(Violation::new(COPIES, what));
        }
    }
    let mut placed: BTreeSet<(&str, &str)> = BTreeSet::new();
    for placement in &state.placements {
        let (content, node) = (placement.content.as_str(), placement.node.as_str());
        placed.insert((node, content));
        if placement.status != "pinned" {
            found.push(Violation::new(REST, format!("{content} on {node} is {}", placement.status)));
        } else if !state.held.get(node).unwrap_or(&nobody).contains(content) {
            found.push(Violation::new(MISSING, format!("{content} on {node}")));
        }
    }
    for (node, contents) in &state.held {
        let surplus = contents.iter().filter(|content| !placed.contains(&(node, content)));
        found.extend(surplus.map(|content| Violation::new(SURPLUS, format!("{content} on {node}"))));
    }
    for (what, count) in [("contents are astray", state.astray), ("partitions changed", state.changed_partitions)] {
        if count != 0 {
            found.push(Violation::new(REST, format!("{count} {what}")));
        }
    }
    found.extend(state.contradictions.iter().map(|what| Violation::new(COUNTERS, what)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::facts::{Pin, Placement};

    fn at_rest() -> State {
        let text = str::to_owned;
        let placement = |node| Placement { content: text("aa"), node: text(node), status: text("pinned") };
        let pin = Pin {
            id: text("1"),
            org: text("a"),
            name: text("p"),
            cid: text("c"),
            content: text("aa"),
            status: text("pinned"),
            copies_min: 2,
        };
        State {
            pins: vec![pin],
            placements: vec![placement("node-0"), placement("node-1")],
            held: ["node-0", "node-1"].map(|node| (text(node), BTreeSet::from([text("aa")]))).into(),
            ..State::default()
        }
    }

    fn promises(change: impl FnOnce(&mut State)) -> Vec<&'static str> {
        let mut state = at_rest();
        change(&mut state);
        check(&state).into_iter().map(|violation| violation.promise).collect()
    }

    #[test]
    fn a_fleet_at_rest_has_nothing_against_it() {
        assert_eq!(promises(|_| {}), [""; 0]);
    }

    #[test]
    fn whatever_is_not_so_is_named() {
        assert_eq!(promises(|state| state.pins[0].status = "failed".to_owned()), [PINNED]);
        assert_eq!(promises(|state| drop(state.held.remove("node-1"))), [COPIES, MISSING]);
        assert_eq!(promises(|state| drop(state.placements.pop())), [SURPLUS]);
        assert_eq!(promises(|state| state.placements[0].status = "unpinning".to_owned()), [REST]);
        assert_eq!(promises(|state| state.pins.clear()), [""; 0], "references are the counters' part");
        assert_eq!(promises(|state| state.astray = 1), [REST]);
        assert_eq!(promises(|state| state.changed_partitions = 2), [REST]);
        assert_eq!(promises(|state| state.contradictions.push("refs".to_owned())), [COUNTERS]);
    }

    #[test]
    fn what_a_kubo_holds_for_nobody_is_surplus() {
        let strange = |state: &mut State| {
            state.held.entry("node-2".to_owned()).or_default().insert("bb".to_owned());
        };
        assert_eq!(promises(strange), [SURPLUS]);
    }
}
