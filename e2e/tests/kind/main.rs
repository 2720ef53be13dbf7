//! The promises of Anchorage on a real cluster, in the order of a cluster's life: installed, used, disturbed, removed.
//!
//! Everything happens on one kind cluster, so this is one program and not many tests: `cargo test -p e2e --test kind`.
//! It closes as every test program does, with `test result: …`.

mod diagnosis;
mod disturbance;
mod isolation;
mod nodes;
mod refusals;
mod removal;
mod tally;

use std::process::ExitCode;

use anyhow::{Result, ensure};
use e2e::anchorage::{self, Cluster};
use e2e::demo::{self, Stage};
use e2e::namespace::text;
use e2e::visitor::Visitor;

use crate::tally::Tally;

fn main() -> ExitCode {
    let mut tally = Tally::default();
    if let Err(error) = life_of_a_cluster(&mut tally) {
        eprintln!("the rest was not run: {error:#}");
    }
    tally.close()
}

fn life_of_a_cluster(tally: &mut Tally) -> Result<()> {
    let stage = tally.must("the_lab_comes_up", || {
        let stage = Stage::set()?;
        demo::remove(&stage.lab)?;
        Ok(stage)
    })?;
    let namespace = tally.must("the_chart_installs_where_pod_security_is_restricted", || {
        let namespace = anchorage::install_chart(&stage.lab)?;
        isolation::privileged_pods_are_refused(&namespace)?;
        Ok(namespace)
    })?;
    tally.check("a_bad_spec_is_refused_with_its_cure", || refusals::bad_specs(&namespace));
    tally.check("a_missing_secret_is_named_in_a_condition", || refusals::missing_secret(&namespace));

    let cluster = tally.must("one_object_becomes_a_ready_service", || {
        let cluster = Cluster::apply(&namespace)?;
        cluster.ready()?;
        Ok(cluster)
    })?;
    tally.check("every_zone_has_one_node", || nodes::one_in_each_zone(&cluster));
    let visitor = tally.must("a_user_has_a_kubo_of_their_own", || Visitor::arrive(&namespace, &stage.ingress))?;
    tally.check("a_file_pinned_through_the_ingress_is_on_two_nodes", || {
        demo::pin_through_the_ingress(&cluster, &visitor, "demo").map(drop)
    });
    tally.check("an_org_does_not_see_anothers_pins", || isolation::orgs(&cluster, &visitor));
    tally.check("kubo_rpc_is_closed_to_other_pods", || isolation::kubo_rpc(&cluster, &visitor));
    tally.check("prometheus_reads_every_pinner", || prometheus_reads_every_pinner(&stage));
    tally.check("a_drained_node_is_empty_and_every_content_stays_on_two_others", || nodes::drain(&cluster, &visitor));
    tally.check("a_cordon_reaches_the_status_and_can_be_taken_back", || nodes::cordon(&cluster));
    tally.check("accepted_pins_end_pinned_after_every_pinner_was_killed", || {
        disturbance::kill_pinners(&cluster, &visitor)
    });
    tally.check("a_cluster_grows_and_shrinks_without_a_content_below_its_minimum", || nodes::scale(&cluster, &visitor));
    tally.check("a_restarted_operator_writes_nothing", || disturbance::restart_operator(&cluster));

    visitor.leave()?;
    tally.must("a_deleted_cluster_leaves_only_its_volumes", || removal::cluster(cluster))?;
    tally.check("helm_uninstall_leaves_only_the_definitions", || removal::chart(&namespace));
    Ok(())
}

fn prometheus_reads_every_pinner(stage: &Stage) -> Result<()> {
    stage.monitoring.targets_up("anchorage/demo", 3)?;
    let accepted = stage.monitoring.query("sum(anchorage_pins_accepted_total)")?;
    ensure!(accepted.parse::<f64>().is_ok_and(|pins| pins >= 1.0), "anchorage_pins_accepted_total is {accepted}");
    Ok(())
}

/// The message of an object's condition, which must have `status`.
fn message<'a>(object: &'a serde_json::Value, kind: &str, status: &str) -> Result<&'a str> {
    let condition = e2e::namespace::condition(object, kind);
    let Some(condition) = condition.filter(|condition| condition["status"] == status) else {
        anyhow::bail!("{kind} is not {status}: {}", object["status"]["conditions"]);
    };
    Ok(text(&condition["message"]))
}
