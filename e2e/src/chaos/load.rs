//! The load: clients of two orgs that pin, replace, delete and look, each its own pins and one thing at a time, by whatever
//! pinner answers; and the blocks of what they pin, given to some Kubo unpinned.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    ask::{Failure, ask, request},
    dice::Dice,
    facts::Content,
    history::{Action, Outcome, Recorder},
    look::{Tables, content_of},
    system::System,
};
use crate::bench::service::uuid_of;

/// The orgs, as `anchorage dev` names them.
const ORGS: [&str; 2] = ["demo", "other"];
/// Clients of each.
const CLIENTS: usize = 4;
/// Contents that both orgs pin again and again.
const SHARED: u64 = 12;
/// The most that a client waits between two operations, in milliseconds.
const THINKS: u64 = 160;

/// What everybody has to do with.
#[derive(Debug)]
pub struct Stage {
    /// The service.
    pub system: System,
    /// What happened.
    pub recorder: Recorder,
    /// Draws everything.
    pub seed: u64,
    /// Every content that was given to a Kubo, with its block.
    pub blocks: Mutex<BTreeMap<Content, String>>,
    /// The load is over.
    pub is_over: AtomicBool,
}

/// A client.
struct Client {
    stage: Arc<Stage>,
    org: &'static str,
    number: usize,
    token: String,
    dice: Dice,
    /// Pins that are there for certain: name and id.
    pins: Vec<(String, String)>,
    /// Pins that are gone for certain.
    gone: Vec<(String, String)>,
    made: usize,
}

/// Tokens for the clients, in their order. To be had before faults begin: one that delays a token would delay all clients.
///
/// # Errors
/// When a client gets no token.
pub async fn tokens(stage: &Stage) -> Result<Vec<String>> {
    let mut tokens = Vec::new();
    for number in 0..CLIENTS * ORGS.len() {
        let wish = json!({"org": org_of(number), "scopes": ["pins:read", "pins:write"]});
        let minted = stage.system.administer(0, "POST", "tokens", &wish).await?;
        tokens.push(minted["token"].as_str().context("no token")?.to_owned());
    }
    Ok(tokens)
}

/// Runs the load, a client for each of the [`tokens`], until the stage says that it is over.
pub async fn run(stage: &Arc<Stage>, tokens: Vec<String>) {
    let mut clients = tokio::task::JoinSet::new();
    for (number, token) in tokens.into_iter().enumerate() {
        let org = org_of(number);
        let dice = Dice::new(stage.seed, 100 + number as u64);
        let (stage, pins, gone) = (Arc::clone(stage), Vec::new(), Vec::new());
        clients.spawn(Client { stage, org, number, token, dice, pins, gone, made: 0 }.run());
    }
    clients.join_all().await;
}

/// Whose the client of this number is.
fn org_of(number: usize) -> &'static str {
    ORGS[number % ORGS.len()]
}

/// Gives again what no node has got hold of yet and what may have gone with the Kubo that it was given to, until told to
/// stop: its user would have it still. What was pinned once is the service's to keep.
pub async fn provide(stage: Arc<Stage>) {
    let mut tables = Tables::of(&stage.system);
    let mut was_pinned: BTreeSet<Content> = BTreeSet::new();
    let mut round = 0;
    loop {
        sleep(Duration::from_secs(2)).await;
        round += 1;
        let rows: Result<Vec<(String, bool)>> = tables
            .ask(async |session| {
                sqlx::query_as(
                    "select encode(content, 'hex'), bool_or(status = 'pinned') from pins
                     where created < now() - interval '2 s' group by content",
                )
                .fetch_all(session)
                .await
            })
            .await;
        let Ok(rows) = rows else { continue };
        for (content, is_pinned) in rows {
            if is_pinned {
                was_pinned.insert(content);
            } else if !was_pinned.contains(&content) {
                let block = stage.blocks.lock().unwrap_or_else(PoisonError::into_inner).get(&content).cloned();
                if let Some(block) = block {
                    // Whoever is away now is given it in another round.
                    let _ = stage.system.give(round % stage.system.nodes(), &block).await;
                }
            }
        }
    }
}

impl Client {
    async fn run(mut self) {
        while !self.stage.is_over.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(self.dice.below(THINKS))).await;
            match self.dice.below(100) {
                0..45 => self.post().await,
                45..60 => self.replace().await,
                60..80 => self.delete().await,
                _ => self.get().await,
            }
        }
    }

    /// Something to pin: mostly fresh.
    async fn content(&mut self) -> Option<String> {
        let block = if self.dice.below(5) == 0 {
            format!("{} shared {}", self.stage.seed, self.dice.below(SHARED))
        } else {
            format!("{} of {}: {}", self.stage.seed, self.number, self.dice.draw())
        };
        let nodes = self.stage.system.nodes();
        let first = self.dice.place(nodes);
        for node in (first..first + nodes).map(|node| node % nodes) {
            if let Ok(cid) = self.stage.system.give(node, &block).await {
                let content = content_of(&cid).ok()?;
                self.stage.blocks.lock().unwrap_or_else(PoisonError::into_inner).insert(content, block);
                return Some(cid);
            }
        }
        None
    }

    async fn post(&mut self) {
        let Some(cid) = self.content().await else { return };
        let name = self.new_name();
        let body = json!({"cid": cid, "name": name});
        let action = Action::Post { name: name.clone(), cid };
        self.make(action, name, "/pins", &body).await;
    }

    async fn replace(&mut self) {
        let Some((old, id)) = self.take_pin() else { return };
        let Some(cid) = self.content().await else { return self.pins.push((old, id)) };
        let name = self.new_name();
        let body = json!({"cid": cid, "name": name});
        let action = Action::Replace { old: old.clone(), name: name.clone(), cid };
        match self.make(action, name, &format!("/pins/{id}"), &body).await {
            Outcome::Ok(_) => self.gone.push((old, id)),
            Outcome::Fail(_) => self.pins.push((old, id)),
            Outcome::Unknown(_) => {}
        }
    }

    async fn delete(&mut self) {
        let Some((name, id)) = self.take_pin() else { return };
        let (outcome, _) =
            self.send(Action::Delete { name: name.clone() }, "DELETE", &format!("/pins/{id}"), &Value::Null).await;
        match outcome {
            Outcome::Ok(_) => self.gone.push((name, id)),
            Outcome::Fail(_) => self.pins.push((name, id)),
            Outcome::Unknown(_) => {}
        }
    }

    /// Looks at a pin that is there, or now and then at one that is gone.
    async fn get(&mut self) {
        let list = if self.dice.below(4) == 0 { &self.gone } else { &self.pins };
        let Some((name, id)) = list.get(self.dice.place(list.len())).cloned() else { return };
        self.send(Action::Get { name }, "GET", &format!("/pins/{id}"), &Value::Null).await;
    }

    /// Sends what makes a pin.
    async fn make(&mut self, action: Action, name: String, path: &str, body: &Value) -> Outcome {
        let (outcome, id) = self.send(action, "POST", path, body).await;
        if let Some(id) = id {
            self.pins.push((name, id));
        }
        outcome
    }

    /// Sends an operation and notes what came of it. Gives the id of the answer too.
    async fn send(&mut self, action: Action, method: &str, path: &str, body: &Value) -> (Outcome, Option<String>) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = request(method, path, &self.token, "application/json", body.as_bytes());
        let system = &self.stage.system;
        let Ok(address) = system.api(self.dice.place(system.nodes())) else {
            return (Outcome::Fail(0), None);
        };
        let op = self.stage.recorder.invoke(self.org, action);
        let (outcome, id) = match ask(address, &request).await {
            Ok((200..300, body)) => {
                let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
                let id = answer["requestid"].as_str().map(str::to_owned);
                (Outcome::Ok(id.as_deref().and_then(|id| uuid_of(id).ok())), id)
            }
            Ok((status @ 400..500, _)) => (Outcome::Fail(status), None),
            Ok((status, body)) => (Outcome::Unknown(format!("{status} {}", String::from_utf8_lossy(&body))), None),
            Err(Failure::NotSent) => (Outcome::Fail(0), None),
            Err(Failure::Unknown(why)) => (Outcome::Unknown(why), None),
        };
        self.stage.recorder.outcome(op, outcome.clone());
        (outcome, id)
    }

    fn take_pin(&mut self) -> Option<(String, String)> {
        (!self.pins.is_empty()).then(|| self.pins.swap_remove(self.dice.place(self.pins.len())))
    }

    fn new_name(&mut self) -> String {
        self.made += 1;
        format!("pin {} of client {}", self.made, self.number)
    }
}
