//! Faults of the service that is not there: the harness breaks a promise itself, and must say so at the end.

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use nix::sys::signal::Signal;

use super::{
    facts::State,
    load::Stage,
    look::{Tables, cid_of},
    system::Part,
};

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Plant {
    /// The row of an acknowledged pin is deleted, at the end.
    LostPin,
    /// A content is unpinned in a Kubo that should hold it, at the end.
    LostCopy,
    /// The number of the leader goes back, in the middle: what an old one writes would be taken.
    StaleLeader,
}

/// Breaks what is broken in the middle of a run.
///
/// # Errors
/// When it cannot be broken.
pub async fn in_the_middle(stage: &Stage, plants: &[Plant]) -> Result<()> {
    if plants.contains(&Plant::StaleLeader) {
        stage.recorder.note("planted: the scheduler's epoch goes back");
        let back = "update leaders set epoch = epoch - 1 where role = 'scheduler'";
        let mut tables = Tables::of(&stage.system);
        tables.ask(async |session| sqlx::query(back).execute(session).await).await?;
    }
    Ok(())
}

/// Breaks what is broken at the end, when the fleet is at rest. A pinner that would put it right before anybody looks stands
/// still from now on, until [`go_on`].
///
/// # Errors
/// When it cannot be broken.
pub async fn at_the_end(stage: &Stage, plants: &[Plant], state: &State) -> Result<()> {
    if plants.contains(&Plant::LostPin) {
        let pin = state.pins.first().context("there is no pin to lose")?;
        stage.recorder.note(&format!("planted: {} is deleted", pin.name));
        let mut tables = Tables::of(&stage.system);
        let delete = "delete from pins where id = $1::uuid";
        tables.ask(async |session| sqlx::query(delete).bind(&pin.id).execute(session).await).await?;
    }
    if plants.contains(&Plant::LostCopy) {
        // Of another pin than the one above.
        let placement =
            state.pins.last().and_then(|pin| state.placements.iter().find(|row| row.content == pin.content));
        let placement = placement.context("there is no copy to lose")?;
        let node = placement.node.strip_prefix("node-").and_then(|node| node.parse().ok()).context("read a node")?;
        stage.recorder.note(&format!("planted: {} is unpinned on {}", placement.content, placement.node));
        stage.system.signal(Part::Pinner(node), Signal::SIGSTOP)?;
        stage.system.ask_kubo(node, &format!("pin/rm?arg={}", cid_of(&placement.content)?)).await?;
    }
    Ok(())
}

/// Has every pinner go on that was stopped for [`at_the_end`].
pub fn go_on(stage: &Stage) {
    for node in 0..stage.system.nodes() {
        // One that was not stopped takes no notice.
        let _ = stage.system.signal(Part::Pinner(node), Signal::SIGCONT);
    }
}
