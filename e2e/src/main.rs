//! `e2e demo`: the demo. `e2e stage`: what it is played on. `e2e bench`: the benches. `e2e chaos`: the fault
//! harness. The end-to-end tests are `cargo test -p e2e --test kind`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Anchorage on a kind cluster, and on the bench.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Sets up the cluster, installs Anchorage, pins a file through the Ingress, drains a node, and shows all of it.
    Demo,
    /// Sets up only what Anchorage lives among: the cluster, its images, Traefik, Prometheus.
    Stage,
    /// Measures the service against what its parts can do at best.
    Bench(e2e::bench::BenchArgs),
    /// Shows where the time of an accept goes: processors, statements, waits, functions.
    Profile,
    /// Disturbs the service under load by a seed, and judges what clients were told and what is there.
    Chaos(e2e::chaos::ChaosArgs),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Demo => e2e::demo::run(),
        Verb::Stage => e2e::demo::Stage::set().map(drop),
        Verb::Bench(arguments) => e2e::bench::run(&arguments),
        Verb::Profile => e2e::bench::profile(),
        Verb::Chaos(arguments) => e2e::chaos::run(&arguments),
    };
    if let Err(error) = result {
        eprintln!("{error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
