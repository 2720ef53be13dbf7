//! The short slice of `make chaos`, and the proof that it notices what it is there to notice.
//!
//! Needs Postgres, nats-server, ipfs and the `anchorage` of the same build: `cargo test -p e2e --test chaos` after
//! `make tools` and `cargo build -p anchorage`.

use std::sync::{Mutex, PoisonError};

use e2e::chaos::{ChaosArgs, disturb, plant::Plant, report::Report};

/// One service at a time is enough for the machine.
static TURN: Mutex<()> = Mutex::new(());

fn run(arguments: &ChaosArgs) -> Report {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let report = runtime.block_on(disturb(arguments)).unwrap();
    for line in report.to_string().lines() {
        println!("note: {line}");
    }
    report
}

fn of_seconds(seconds: u64) -> ChaosArgs {
    ChaosArgs { seed: None, seconds, nodes: 3, faults: Vec::new(), calm: false, plant: Vec::new() }
}

#[test]
fn under_faults_the_service_keeps_what_it_acknowledged_and_comes_to_rest() {
    run(&of_seconds(60)).verdict().unwrap();
}

#[test]
fn a_lost_pin_a_lost_copy_and_a_stale_leader_are_noticed() {
    let plant = vec![Plant::LostPin, Plant::LostCopy, Plant::StaleLeader];
    let report = run(&ChaosArgs { calm: true, plant, ..of_seconds(12) });
    assert!(report.verdict().unwrap_err().to_string().contains("violations; once more: e2e chaos --seed"));
    for promise in [
        "an acknowledged pin is lost",
        "a content is pinned in too few Kubos",
        "a placement says pinned and its Kubo does not hold it",
        "an office's epoch does not increase",
    ] {
        let is_noticed = report.violations.iter().any(|violation| violation.promise == promise);
        assert!(is_noticed, "{promise}: {report}");
    }
}
