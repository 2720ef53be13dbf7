//! `e2e demo`: the demo. The end-to-end tests are `cargo test -p e2e --test kind`.

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Anchorage on a kind cluster.
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
}

fn main() -> Result<()> {
    match Arguments::parse().verb {
        Verb::Demo => e2e::demo::run(),
    }
}
