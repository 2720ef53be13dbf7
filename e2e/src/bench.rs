//! `make bench`: what the service does, as ratios to what its parts can do at best, measured in the same run on the same
//! machine. Absolute figures say more about the machine, and about what else it is doing, than about the service.
//!
//! Everything runs for real: the release build, by `anchorage dev`, on Postgres with `fsync` on, NATS and Kubo. Each row
//! has a service of its own with data of its own, made by the bench and gone with it.
//!
//! # How to read the table
//!
//! `ours` and `anchor` are medians, `ratio` is the median of the ratios of single rounds, with the least and the greatest
//! round beside it; goals are those of the design. In a round ours and the anchor are measured one right after the other,
//! between two looks at how many synced writes a second the disk does just then. A round in which that rate moved by more
//! than 15 % says more about the disk than about us; such rounds are left out where at least three others are there, and
//! the notes below the table say how many were steady.
//!
//! Compare ratios, never rates of different runs. A ratio whose extremes are far apart was measured on a machine that had
//! other things to do: run it again when it is quiet. `make bench SCALE=small` is for seeing that a change did not ruin
//! anything: its rounds are short and its percentiles are those of a few dozen requests.
//!
//! The rows have one file each: `accept` (1), `complete` (2), `list` (3), `plan` (4 and 5), `flood` (8).

pub mod block;
pub mod cpu;
pub mod disk;
pub mod figures;
pub mod http;
pub mod postgres;
pub mod scale;
pub mod service;
pub mod table;

mod accept;
mod complete;
mod flood;
mod list;
mod pins;
mod plan;
mod profile;

use std::fmt::Display;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use self::{
    scale::{Scale, Sizes},
    table::Report,
};
use crate::story;

/// Flags of `e2e bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// How much to measure
    #[arg(long, value_enum, default_value_t = Scale::Full)]
    scale: Scale,
    /// Which rows of the table of goals
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 3, 4, 5, 8], value_parser = clap::value_parser!(u8).range(1..=8))]
    rows: Vec<u8>,
}

/// Measures and prints the table on standard output.
///
/// # Errors
/// When a row could not be measured. Goals that are not met are no error: the table says so.
pub fn run(arguments: &BenchArgs) -> Result<()> {
    until_interrupted(measure(arguments))
}

/// Prints where the time of an accept goes.
///
/// # Errors
/// When the service could not be looked at.
pub fn profile() -> Result<()> {
    until_interrupted(async {
        print(&profile::run().await?);
        Ok(())
    })
}

fn until_interrupted(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("listen for signals")?;
        tokio::select! {
            done = work => done,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminate.recv() => bail!("told to end"),
        }
    })
}

async fn measure(arguments: &BenchArgs) -> Result<()> {
    let sizes = arguments.scale.sizes();
    let mut report = Report::default();
    let mut failed = Vec::new();
    for row in &arguments.rows {
        match measure_row(*row, &sizes).await {
            Ok(found) => {
                report.lines.extend(found.lines);
                report.notes.extend(found.notes);
            }
            Err(error) => {
                story::note(&format!("row {row} failed: {error:#}"));
                failed.push(row.to_string());
            }
        }
    }
    print(&report);
    if failed.is_empty() { Ok(()) } else { bail!("could not measure row {}", failed.join(", ")) }
}

async fn measure_row(row: u8, sizes: &Sizes) -> Result<Report> {
    match row {
        1 => accept::measure(sizes).await,
        2 => complete::measure(sizes).await,
        3 => list::measure(sizes).await,
        4 => plan::measure_size(sizes),
        5 => plan::measure_movement(sizes),
        8 => flood::measure(sizes).await,
        _ => bail!("there is no bench for row {row} yet"),
    }
}

#[expect(clippy::print_stdout, reason = "what is printed is what this command is for")]
fn print(report: &impl Display) {
    println!("{report}");
}
