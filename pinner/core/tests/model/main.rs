//! Every history of leases, epochs, generations and faults that there is, up to bounds: a model checker looks at them all.
//!
//! `cargo test --release -p pinner-core --test model` looks at a slice; `STATES=full` before it takes the whole, which is
//! some ten million states and a gigabyte, and prints how many there were.

mod machine;

use machine::{Faults, Guard, Machine};
use stateright::{Checker, Model};

const NONE: Faults = Faults { expiries: 0, wipes: 0, crashes: 0, lapses: 0, failures: 0, losses: 0 };
const TWO: Machine = Machine { leaders: 2, nodes: 2, jobs: 1, faults: NONE, without: None };

/// Looks at every state of a machine. Gives how many there are.
fn check(name: &str, machine: Machine) -> usize {
    let begun = std::time::Instant::now();
    let checker = machine.checker().threads(1).spawn_bfs().join();
    checker.assert_properties();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!("{name}: {states} states, {} steps, depth {depth}, {:?}", checker.state_count(), begun.elapsed());
    states
}

#[test]
fn the_machine_keeps_its_rules_in_every_history() {
    let leaders = Faults { expiries: 1, wipes: 1, lapses: 1, ..NONE };
    check("leaders", Machine { faults: leaders, ..TWO });
    let jobs = Faults { expiries: 1, crashes: 1, lapses: 1, failures: 1, ..NONE };
    check("jobs", Machine { faults: jobs, ..TWO });
}

#[test]
fn the_machine_keeps_its_rules_in_every_longer_history() {
    if std::env::var("STATES").as_deref() != Ok("full") {
        return;
    }
    let leaders = Faults { expiries: 2, wipes: 1, crashes: 1, lapses: 1, failures: 0, losses: 1 };
    let mut states = check("leaders", Machine { faults: leaders, ..TWO });
    let jobs = Faults { expiries: 1, wipes: 0, crashes: 1, lapses: 1, failures: 1, losses: 1 };
    states += check("jobs", Machine { faults: jobs, ..TWO });
    let three = Faults { expiries: 2, wipes: 1, ..NONE };
    states += check("three leaders", Machine { leaders: 3, faults: three, ..TWO });
    let two_jobs = Faults { expiries: 1, lapses: 1, ..NONE };
    states += check("two jobs", Machine { jobs: 2, faults: two_jobs, ..TWO });
    println!("{states} states in all");
    assert!(states >= 10_000_000, "{states}");
}

#[test]
fn without_any_one_guard_a_rule_is_broken() {
    let leaders = Faults { expiries: 1, ..NONE };
    let late = Faults { lapses: 1, ..NONE };
    let cases = [
        (Guard::Fence, leaders, "one leads"),
        (Guard::Mint, Faults { wipes: 1, ..leaders }, "one leads"),
        (Guard::Generation, late, "results count under their claim"),
        (Guard::Bump, late, "results count under their claim"),
        (Guard::Recheck, Faults { expiries: 1, ..late }, "nothing is finished twice"),
        (Guard::Claim, NONE, "nothing is finished twice"),
        (Guard::Once, Faults { losses: 1, ..NONE }, "nothing is finished twice"),
        (Guard::Sweep, Faults { losses: 1, ..NONE }, "all is finished in the end"),
        (Guard::Requeue, Faults { crashes: 1, ..NONE }, "all is finished in the end"),
    ];
    for (guard, faults, rule) in cases {
        let whole = Machine { faults, ..TWO }.checker().spawn_bfs().join();
        whole.assert_no_discovery(rule);
        let checker = Machine { faults, without: Some(guard), ..TWO }.checker().spawn_bfs().join();
        let broken = checker.discovery(rule);
        assert!(broken.is_some(), "{rule}, though nothing stands for {guard:?}");
    }
}
