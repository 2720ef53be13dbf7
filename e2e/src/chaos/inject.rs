//! Does what the schedule says to a running service, and takes it back.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::{
    facts::{Content, Loss, Placement},
    load::Stage,
    look::{Tables, cid_of, held, pins_of},
    nats,
    relay::Cut,
    schedule::{Fault, Kind, Step},
    system::Part,
};

/// What was done, for the summary and for the judges.
#[derive(Debug, Default)]
pub struct Done {
    /// Every fault with its kind, and whether it took place.
    pub faults: Mutex<Vec<(Kind, bool)>>,
    /// The disks that were emptied.
    pub losses: Mutex<Vec<Loss>>,
}

/// How often something is tried that a part must answer for.
const TRIES: usize = 120;
/// How often a disk is tried to be lost: what was lost before must be there again.
const LOSS_TRIES: usize = 4;

/// Goes through the schedule.
pub async fn run(stage: &Arc<Stage>, steps: &[Step], done: &Done) {
    let began = Instant::now();
    for Step { at, fault, heals } in steps {
        sleep_until(began + Duration::from_millis(*at)).await;
        let what = format!("{} node-{}", fault.kind.name(), fault.node);
        if *heals {
            let ended = heal(stage, *fault).await;
            stage.recorder.note(&format!("{what} ends: {ended:?}"));
        } else {
            let began = inject(stage, *fault, done).await;
            stage.recorder.note(&format!("{what} for {} s: {began:?}", fault.seconds));
            done.faults.lock().unwrap_or_else(PoisonError::into_inner).push((fault.kind, began.is_ok()));
        }
    }
}

/// Takes back whatever may still be in force: every part runs, every node takes part, no pause.
///
/// # Errors
/// When the admin API does not do so for a minute.
pub async fn heal_all(stage: &Stage) -> Result<()> {
    let nodes = stage.system.nodes();
    for node in 0..nodes {
        let _ = stage.system.signal(Part::Pinner(node), Signal::SIGCONT);
        let _ = stage.system.signal(Part::Kubo(node), Signal::SIGCONT);
    }
    stage.system.mend();
    for node in 0..nodes {
        let path = format!("nodes/node-{node}/uncordon");
        insist(stage, "POST", &path, &json!({})).await?;
    }
    insist(stage, "DELETE", "maintenance", &Value::Null).await
}

async fn insist(stage: &Stage, method: &str, path: &str, body: &Value) -> Result<()> {
    let mut last = None;
    for turn in 0..TRIES {
        match stage.system.administer(turn % stage.system.nodes(), method, path, body).await {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(error),
        }
        sleep(Duration::from_millis(500)).await;
    }
    Err(last.context("nothing was tried")?)
}

async fn inject(stage: &Stage, fault: Fault, done: &Done) -> Result<()> {
    let Fault { kind, node, seconds } = fault;
    let system = &stage.system;
    let other = (node + 1) % system.nodes();
    let reason = json!({"reason": "chaos"});
    match kind {
        Kind::KillPinner => system.signal(Part::Pinner(node), Signal::SIGKILL),
        Kind::KillKubo => system.signal(Part::Kubo(node), Signal::SIGKILL),
        Kind::KillNats => system.signal(Part::Nats, Signal::SIGKILL),
        Kind::KillPostgres => system.signal(Part::Postgres, Signal::SIGKILL),
        Kind::QuitPostgres => system.signal(Part::Postgres, Signal::SIGQUIT),
        Kind::StopPinner => system.signal(Part::Pinner(node), Signal::SIGSTOP),
        Kind::StopKubo => system.signal(Part::Kubo(node), Signal::SIGSTOP),
        Kind::DropStreams => nats::delete_streams(system.nats()?).await.map(drop),
        Kind::WipeNats => {
            let store = system.nats_store();
            fs::rename(&store, store.with_extension(format!("lost-{}", stage.recorder.now())))
                .context("move the store away")?;
            system.signal(Part::Nats, Signal::SIGKILL)
        }
        Kind::CutSessions => {
            let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                where pid <> pg_backend_pid() and backend_type = 'client backend'";
            let mut tables = Tables::of(system);
            tables.ask(async |session| sqlx::query(cut).execute(session).await).await.map(drop)
        }
        Kind::Drain => system.administer(other, "POST", &format!("nodes/node-{node}/drain"), &reason).await.map(drop),
        Kind::Cordon => system.administer(other, "POST", &format!("nodes/node-{node}/cordon"), &reason).await.map(drop),
        Kind::Maintenance => {
            let wish = json!({"forSeconds": seconds + 5, "reason": "chaos"});
            system.administer(node, "PUT", "maintenance", &wish).await.map(drop)
        }
        Kind::LoseDisk => lose(stage, node, done).await,
        Kind::PartNats => {
            system.lines().cut_nats(node, Cut::Both);
            Ok(())
        }
        Kind::PartPostgres => {
            system.lines().cut_postgres(node, Cut::Both);
            Ok(())
        }
        Kind::MutePostgres => {
            system.lines().cut_postgres(node, Cut::Answers);
            Ok(())
        }
        Kind::FillKubo => system.disk(Part::Kubo(node))?.fill(),
        Kind::FillNats => system.disk(Part::Nats)?.fill(),
        Kind::FillPostgres => system.disk(Part::Postgres)?.fill(),
    }
}

async fn heal(stage: &Stage, fault: Fault) -> Result<()> {
    let node = fault.node;
    match fault.kind {
        Kind::StopPinner => stage.system.signal(Part::Pinner(node), Signal::SIGCONT),
        Kind::StopKubo => stage.system.signal(Part::Kubo(node), Signal::SIGCONT),
        Kind::Drain | Kind::Cordon => {
            let path = format!("nodes/node-{node}/uncordon");
            stage.system.administer((node + 1) % stage.system.nodes(), "POST", &path, &json!({})).await.map(drop)
        }
        Kind::Maintenance => stage.system.administer(node, "DELETE", "maintenance", &Value::Null).await.map(drop),
        Kind::PartNats => {
            stage.system.lines().cut_nats(node, Cut::Nothing);
            Ok(())
        }
        Kind::PartPostgres | Kind::MutePostgres => {
            stage.system.lines().cut_postgres(node, Cut::Nothing);
            Ok(())
        }
        Kind::FillKubo => stage.system.disk(Part::Kubo(node))?.clear(),
        Kind::FillNats => stage.system.disk(Part::Nats)?.clear(),
        Kind::FillPostgres => stage.system.disk(Part::Postgres)?.clear(),
        _ => Ok(()),
    }
}

/// What a Kubo holds, once it may be lost: every copy of what is pinned is there, and those on the other nodes really are, or
/// what is lost would be our doing.
async fn may_lose(stage: &Stage, node: usize) -> Result<BTreeSet<Content>> {
    let mut tables = Tables::of(&stage.system);
    let name = format!("node-{node}");
    // What says so before and after the look at the Kubos was so during it.
    let earlier: HashSet<Placement> = tables.placements().await?.into_iter().collect();
    let mut before = held(&stage.system).await?;
    let placements = tables.placements().await?;
    let stayed = placements.iter().filter(|placement| earlier.contains(placement));
    for placement in stayed.filter(|placement| placement.node != name && placement.status == "pinned") {
        let is_there = before.get(&placement.node).is_some_and(|held| held.contains(&placement.content));
        ensure!(is_there, "{} is not there yet on {}", placement.content, placement.node);
    }
    let low = tables.sample(0).await?.low;
    ensure!(low.is_empty(), "{} contents have a copy to be made good", low.len());
    before.remove(&name).context("nobody looked")
}

/// Empties a Kubo: its pins and its blocks.
async fn lose(stage: &Stage, node: usize, done: &Done) -> Result<()> {
    let system = &stage.system;
    let mut may = may_lose(stage, node).await;
    for _ in 0..LOSS_TRIES {
        if may.is_err() {
            sleep(Duration::from_secs(1)).await;
            may = may_lose(stage, node).await;
        }
    }
    let mut loss = Loss { from: stage.recorder.now(), contents: may? };
    let note = |loss: &Loss| {
        let mut losses = done.losses.lock().unwrap_or_else(PoisonError::into_inner);
        losses.retain(|other| other.from != loss.from);
        losses.push(loss.clone());
    };
    note(&loss);
    let emptied = empty(stage, node).await;
    let to_come = Tables::of(system).placements().await.unwrap_or_default();
    let name = format!("node-{node}");
    loss.contents.extend(to_come.into_iter().filter(|row| row.node == name).map(|row| row.content));
    note(&loss);
    emptied
}

async fn empty(stage: &Stage, node: usize) -> Result<()> {
    for content in pins_of(&stage.system, node).await? {
        let path = format!("pin/rm?arg={}", cid_of(&content)?);
        match stage.system.ask_kubo(node, &path).await {
            // Let go by the service meanwhile.
            Err(error) if error.to_string().contains("not pinned") => {}
            answer => drop(answer?),
        }
    }
    stage.system.ask_kubo(node, "repo/gc").await.map(drop)
}
