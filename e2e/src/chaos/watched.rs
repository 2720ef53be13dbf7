//! What must hold at every moment, judged by samples: no content below its minimum, no leader's number twice or backwards, no
//! placement map going back.

use std::collections::BTreeMap;

use super::facts::{Loss, Sample, Violation};

const BELOW: &str = "a content is below its minimum";
const EPOCH: &str = "an office's epoch does not increase";
const MAP: &str = "the placement map goes back";

/// Judges samples in the order in which they were taken. A lost disk takes one copy of what was on it, until that was made
/// good; the harness empties no other disk before.
pub fn check(samples: &[Sample], losses: &[Loss]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut terms: BTreeMap<&str, (i64, &str)> = BTreeMap::new();
    let mut map = 0;
    for sample in samples {
        for low in &sample.low {
            // The disk that was lost last: those before it had been made good.
            let loss = losses.iter().rev().find(|loss| loss.from <= sample.at);
            let explained = loss.is_some_and(|loss| loss.contents.contains(&low.content)) && low.nodes + 1 >= low.least;
            if !explained {
                let what = format!("{} on {} instead of {} at {} ms", low.content, low.nodes, low.least, sample.at);
                found.push(Violation::new(BELOW, what));
            }
        }
        for term in &sample.terms {
            if let Some((epoch, since)) = terms.insert(&term.role, (term.epoch, &term.since)) {
                if term.epoch < epoch {
                    let what = format!("{} from {epoch} to {} at {} ms", term.role, term.epoch, sample.at);
                    found.push(Violation::new(EPOCH, what));
                } else if term.epoch == epoch && term.since != since {
                    let what = format!("{} has {epoch} a second time at {} ms", term.role, sample.at);
                    found.push(Violation::new(EPOCH, what));
                }
            }
        }
        if sample.map_version < map || sample.map_version != sample.newest_map {
            let what = format!(
                "from {map} to {} with {} as the newest at {} ms",
                sample.map_version, sample.newest_map, sample.at
            );
            found.push(Violation::new(MAP, what));
        }
        map = sample.map_version;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::facts::{Low, Term};

    fn sample(at: u64) -> Sample {
        Sample { at, map_version: 3, newest_map: 3, terms: vec![term(5, "noon")], ..Sample::default() }
    }

    fn term(epoch: i64, since: &str) -> Term {
        Term { role: "scheduler".to_owned(), epoch, since: since.to_owned() }
    }

    fn low(nodes: i64) -> Vec<Low> {
        vec![Low { content: "aa".to_owned(), nodes, least: 2 }]
    }

    fn promises(samples: &[Sample], losses: &[Loss]) -> Vec<&'static str> {
        check(samples, losses).into_iter().map(|violation| violation.promise).collect()
    }

    #[test]
    fn a_content_below_its_minimum_is_named_unless_its_disk_was_lost() {
        assert_eq!(promises(&[sample(1), sample(2)], &[]), [""; 0]);
        let short = |at, nodes| Sample { low: low(nodes), ..sample(at) };
        assert_eq!(promises(&[short(10, 1)], &[]), [BELOW]);
        let loss = |from, content: &str| Loss { from, contents: [content.to_owned()].into() };
        assert_eq!(promises(&[short(10, 1)], &[loss(5, "aa")]), [""; 0]);
        assert_eq!(promises(&[short(10, 0)], &[loss(5, "aa")]), [BELOW], "both copies");
        assert_eq!(promises(&[short(10, 1)], &[loss(11, "aa")]), [BELOW], "before it");
        assert_eq!(promises(&[short(10, 1)], &[loss(5, "bb")]), [BELOW], "another content");
        assert_eq!(promises(&[short(10, 1)], &[loss(5, "aa"), loss(8, "bb")]), [BELOW], "made good long since");
    }

    #[test]
    fn epochs_increase_with_every_holder() {
        let held = |epoch, since| Sample { terms: vec![term(epoch, since)], ..sample(1) };
        assert_eq!(promises(&[held(5, "noon"), held(5, "noon"), held(6, "one"), held(9, "two")], &[]), [""; 0]);
        assert_eq!(promises(&[held(5, "noon"), held(4, "one")], &[]), [EPOCH]);
        assert_eq!(promises(&[held(5, "noon"), held(5, "one")], &[]), [EPOCH]);
    }

    #[test]
    fn maps_never_go_back() {
        let mapped = |version, newest| Sample { map_version: version, newest_map: newest, ..sample(1) };
        assert_eq!(promises(&[mapped(0, 0), mapped(1, 1), mapped(4, 4)], &[]), [""; 0]);
        assert_eq!(promises(&[mapped(4, 4), mapped(3, 3)], &[]), [MAP]);
        assert_eq!(promises(&[mapped(4, 5)], &[]), [MAP]);
    }
}
