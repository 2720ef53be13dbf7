//! Whether the service keeps what it acknowledged: each pin once, until it is deleted, and not after.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    facts::{Pin, Violation},
    history::{Action, Operation, Outcome},
};

const LOST: &str = "an acknowledged pin is lost";
const BACK: &str = "a deleted pin is there";
const TWICE: &str = "a pin is there twice";
const STRANGE: &str = "a pin is there that nobody asked for";
const OTHER: &str = "a pin is not as it was asked for";

/// What must become of a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    Gone,
    Either,
}

#[derive(Debug)]
struct Expected<'a> {
    org: &'a str,
    cid: &'a str,
    id: Option<&'a str>,
    fate: Fate,
    /// The pin that it takes the place of, if nobody knows whether it did.
    instead_of: Option<&'a str>,
}

/// Judges a history by itself and by the pins at the end, whose ids are those of the API.
pub fn check(history: &[Operation], pins: &[Pin]) -> Vec<Violation> {
    let mut found = Vec::new();
    let expected = expect(history, &mut found);
    let mut there: BTreeMap<&str, Vec<&Pin>> = BTreeMap::new();
    for pin in pins {
        there.entry(&pin.name).or_default().push(pin);
    }
    for (name, wanted) in &expected {
        let rows = there.remove(name).unwrap_or_default();
        found.extend(judge(name, wanted, &rows));
        if let Some(old) = wanted.instead_of
            && expected.get(old).is_some_and(|old| old.fate == Fate::Either)
        {
            let old_is_there = pins.iter().any(|pin| pin.name == old);
            match (old_is_there, rows.is_empty()) {
                (true, false) => found.push(Violation::new(BACK, format!("{old} beside {name}, which replaces it"))),
                (false, true) => found.push(Violation::new(LOST, format!("{old} and {name}, which was to replace it"))),
                _ => {}
            }
        }
    }
    for (name, rows) in there {
        found.push(Violation::new(STRANGE, format!("{name} ({} times)", rows.len())));
    }
    found
}

/// How many operations were acknowledged that change something.
pub fn acknowledged(history: &[Operation]) -> usize {
    let counts = |operation: &&Operation| {
        matches!(operation.outcome, Some(Outcome::Ok(_))) && !matches!(operation.action, Action::Get { .. })
    };
    history.iter().filter(counts).count()
}

/// Walks through the history: a pin is touched by one client, which does one thing at a time.
fn expect<'a>(history: &'a [Operation], found: &mut Vec<Violation>) -> BTreeMap<&'a str, Expected<'a>> {
    let mut expected: BTreeMap<&str, Expected<'_>> = BTreeMap::new();
    let mut ids = BTreeSet::new();
    const UNKNOWN: &Outcome = &Outcome::Unknown(String::new());
    for Operation { org, action, outcome } in history {
        let outcome = outcome.as_ref().unwrap_or(UNKNOWN);
        if let Action::Post { name, cid } | Action::Replace { name, cid, .. } = action {
            let (fate, id) = match outcome {
                Outcome::Ok(id) => (Fate::Kept, id.as_deref()),
                Outcome::Fail(_) => (Fate::Gone, None),
                Outcome::Unknown(_) => (Fate::Either, None),
            };
            if let Some(id) = id
                && !ids.insert(id)
            {
                found.push(Violation::new(TWICE, format!("two requests were answered with {id}")));
            }
            let instead_of = match action {
                Action::Replace { old, .. } if fate == Fate::Either => {
                    // Only a pin that was there for certain has to be there still, or its successor.
                    let old_is_kept = expected.get(old.as_str()).is_some_and(|old| old.fate == Fate::Kept);
                    old_is_kept.then_some(old.as_str())
                }
                _ => None,
            };
            expected.insert(name, Expected { org, cid, id, fate, instead_of });
        }
        let (Action::Delete { name } | Action::Get { name } | Action::Replace { old: name, .. }) = action else {
            continue;
        };
        let Some(pin) = expected.get_mut(name.as_str()) else {
            found.push(Violation::new(STRANGE, format!("the harness asked for {name}, which nobody made")));
            continue;
        };
        let is_look = matches!(action, Action::Get { .. });
        match (outcome, pin.fate) {
            (Outcome::Ok(_), Fate::Gone) => found.push(Violation::new(BACK, format!("{name} was answered"))),
            (Outcome::Fail(404), Fate::Kept) => found.push(Violation::new(LOST, format!("{name} was not found"))),
            (Outcome::Ok(_), _) if !is_look => pin.fate = Fate::Gone,
            (Outcome::Unknown(_), Fate::Kept) if !is_look => pin.fate = Fate::Either,
            _ => {}
        }
    }
    expected
}

fn judge(name: &str, wanted: &Expected<'_>, rows: &[&Pin]) -> Vec<Violation> {
    let mut found = Vec::new();
    match (wanted.fate, rows.len()) {
        (Fate::Kept, 0) => found.push(Violation::new(LOST, format!("{name} ({})", wanted.id.unwrap_or("?")))),
        (Fate::Gone, 1..) => found.push(Violation::new(BACK, name)),
        _ => {}
    }
    if rows.len() > 1 {
        found.push(Violation::new(TWICE, format!("{name}, {} times", rows.len())));
    }
    for row in rows {
        let has_id = wanted.id.is_none_or(|id| id == row.id);
        if !has_id || row.org != wanted.org || row.cid != wanted.cid {
            found.push(Violation::new(OTHER, format!("{row:?} for {wanted:?}")));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(id: &str) -> Outcome {
        Outcome::Ok(Some(id.to_owned()))
    }

    fn unknown() -> Outcome {
        Outcome::Unknown("timeout".to_owned())
    }

    fn did(action: Action, outcome: Outcome) -> Operation {
        Operation { org: "a".to_owned(), action, outcome: Some(outcome) }
    }

    fn post(name: &str, outcome: Outcome) -> Operation {
        did(Action::Post { name: name.to_owned(), cid: "c".to_owned() }, outcome)
    }

    fn replace(old: &str, name: &str, outcome: Outcome) -> Operation {
        did(Action::Replace { old: old.to_owned(), name: name.to_owned(), cid: "c".to_owned() }, outcome)
    }

    fn delete(name: &str, outcome: Outcome) -> Operation {
        did(Action::Delete { name: name.to_owned() }, outcome)
    }

    fn get(name: &str, outcome: Outcome) -> Operation {
        did(Action::Get { name: name.to_owned() }, outcome)
    }

    fn row(name: &str, id: &str) -> Pin {
        let text = str::to_owned;
        Pin {
            id: text(id),
            org: text("a"),
            name: text(name),
            cid: text("c"),
            content: text("00"),
            status: text("pinned"),
            copies_min: 2,
        }
    }

    fn promises(history: &[Operation], pins: &[Pin]) -> Vec<&'static str> {
        check(history, pins).into_iter().map(|violation| violation.promise).collect()
    }

    #[test]
    fn what_was_acknowledged_is_there_and_what_is_unknown_may_be() {
        let history = [post("p", ok("1")), post("q", unknown()), post("r", Outcome::Fail(429)), get("p", ok("1"))];
        assert_eq!(promises(&history, &[row("p", "1")]), [""; 0]);
        assert_eq!(promises(&history, &[row("p", "1"), row("q", "2")]), [""; 0]);
        assert_eq!(promises(&history, &[]), [LOST]);
        assert_eq!(promises(&history, &[row("p", "1"), row("r", "3")]), [BACK]);
        assert_eq!(acknowledged(&history), 1);
    }

    #[test]
    fn what_was_deleted_stays_deleted() {
        let history = [post("p", ok("1")), delete("p", Outcome::Ok(None)), get("p", Outcome::Fail(404))];
        assert_eq!(promises(&history, &[]), [""; 0]);
        assert_eq!(promises(&history, &[row("p", "1")]), [BACK]);
        let perhaps = [post("p", ok("1")), delete("p", unknown())];
        assert_eq!(promises(&perhaps, &[]), [""; 0]);
        assert_eq!(promises(&perhaps, &[row("p", "1")]), [""; 0]);
    }

    #[test]
    fn a_client_sees_what_it_did() {
        let lost = [post("p", ok("1")), get("p", Outcome::Fail(404))];
        assert_eq!(promises(&lost, &[row("p", "1")]), [LOST]);
        let back = [post("p", ok("1")), delete("p", Outcome::Ok(None)), get("p", ok("1"))];
        assert_eq!(promises(&back, &[]), [BACK]);
    }

    #[test]
    fn one_request_is_one_pin_with_the_id_of_its_answer() {
        assert_eq!(promises(&[post("p", unknown())], &[row("p", "1"), row("p", "2")]), [TWICE]);
        assert_eq!(promises(&[post("p", ok("1")), post("q", ok("1"))], &[row("p", "1"), row("q", "1")]), [TWICE]);
        assert_eq!(promises(&[post("p", ok("1"))], &[row("p", "2")]), [OTHER]);
        assert_eq!(promises(&[post("p", ok("1"))], &[Pin { org: "b".to_owned(), ..row("p", "1") }]), [OTHER]);
        assert_eq!(promises(&[], &[row("p", "1")]), [STRANGE]);
    }

    #[test]
    fn of_a_pin_and_its_replacement_one_is_there() {
        let done = [post("p", ok("1")), replace("p", "q", ok("2"))];
        assert_eq!(promises(&done, &[row("q", "2")]), [""; 0]);
        assert_eq!(promises(&done, &[row("p", "1")]), [BACK, LOST]);
        let perhaps = [post("p", ok("1")), replace("p", "q", unknown())];
        assert_eq!(promises(&perhaps, &[row("p", "1")]), [""; 0]);
        assert_eq!(promises(&perhaps, &[row("q", "2")]), [""; 0]);
        assert_eq!(promises(&perhaps, &[]), [LOST]);
        assert_eq!(promises(&perhaps, &[row("p", "1"), row("q", "2")]), [BACK]);
        let refused = [post("p", ok("1")), replace("p", "q", Outcome::Fail(429))];
        assert_eq!(promises(&refused, &[row("p", "1")]), [""; 0]);
    }
}
