//! Random histories of several orgs on few contents, with crashes in between, against a model: a map of pins.
//!
//! The pinner is killed in the middle of requests, Kubo goes away and comes back, pins' time is up. At rest Kubo pins what
//! some pin holds and nothing else; a content that was pinned and is held ever since is neither unpinned nor added again,
//! whoever deletes, replaces or dies meanwhile; and each org is told at every moment what it uses.
//!
//! `HISTORIES=n` runs that many, `SEED=…` repeats one.

mod operation;
mod usage;

use crate::stage::{
    cids,
    client::Client,
    database::Database,
    fake_kubo::{Addition, FakeKubo},
    pinner::{Pinner, Setup},
    truth,
    wait::{SOON, until},
};
use futures::future::join_all;
use operation::{Held, Operation, adopt, listed};
use pinner_core::id::PinId;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const ORGS: usize = 3;
const STEPS: usize = 50;

/// One org: how to reach it, and the pins it must have by requestid.
struct Org {
    client: Client,
    pins: BTreeMap<String, Held>,
}

/// What is being run.
struct History {
    random: StdRng,
    contents: Vec<String>,
    kubo: FakeKubo,
    orgs: Vec<Org>,
    names: usize,
    /// Contents that were pinned and have been held ever since, with how often each had been added and removed then.
    settled: BTreeMap<String, (usize, usize)>,
}

impl History {
    /// Something that `org` may do now; `busy` are pins that others of its requests are about.
    fn choose(&mut self, org: usize, busy: &mut BTreeSet<String>) -> Operation {
        self.names += 1;
        let name = format!("name {}", self.names);
        let pins = &self.orgs[org].pins;
        let free: Vec<_> = pins.keys().filter(|pin| !busy.contains(*pin)).cloned().collect();
        let old = free.choose(&mut self.random).cloned();
        let many: Vec<_> = free.into_iter().filter(|_| self.random.random_bool(0.3)).collect();
        let cid = self.contents.choose(&mut self.random).expect("not empty").clone();
        let pin = Held { cid, name, expires: self.random.random_bool(0.3) };
        let operation = match (self.random.random_range(0..10), old) {
            // Of another content, mostly; then of the same, with nothing but name and meta changed.
            (0..2, Some(old)) => Operation::Replace { old, pin },
            (2..4, Some(old)) => Operation::Replace { pin: Held { cid: pins[&old].cid.clone(), ..pin }, old },
            (4..6, Some(old)) => Operation::Delete { old },
            (6, Some(_)) if !many.is_empty() => Operation::DeleteMany { old: many },
            _ => Operation::Create { pin },
        };
        busy.extend(operation.old().iter().cloned());
        operation
    }

    /// One request, acknowledged; not about those that are `busy`.
    async fn step(&mut self, org: usize, mut busy: BTreeSet<String>) {
        let operation = self.choose(org, &mut busy);
        let answer = operation.send(&self.orgs[org].client).await.expect("the service answers");
        operation.apply(&mut self.orgs[org].pins, &answer);
        self.forget_settled(&BTreeSet::new());
    }

    /// Lets the time of some pins be up that are to delete themselves one day, and gives them.
    async fn pass_time(&mut self, admin: &sqlx::PgPool) -> BTreeSet<String> {
        let pins = self.orgs.iter().flat_map(|org| &org.pins).filter(|(_, pin)| pin.expires);
        let over: BTreeSet<_> =
            pins.filter(|_| self.random.random_bool(0.5)).map(|(requestid, _)| requestid.clone()).collect();
        let passed = sqlx::query("update pins set expires = now() where id = any ($1)").bind(uuids(&over));
        passed.execute(admin).await.expect("a well-formed statement");
        self.forget_settled(&over);
        over
    }

    /// Waits until these are gone, and nothing else with them.
    async fn forget(&mut self, admin: &sqlx::PgPool, over: &BTreeSet<String>) {
        until("pins whose time is up are gone", SOON, async || {
            let left = sqlx::query_scalar("select count(*) from pins where id = any ($1)").bind(uuids(over));
            let left: i64 = left.fetch_one(admin).await.expect("a well-formed query");
            (left == 0).then_some(())
        })
        .await;
        self.orgs.iter_mut().for_each(|org| org.pins.retain(|requestid, _| !over.contains(requestid)));
    }

    /// Several requests at once in whose middle the pinner is killed. Each was carried out whole or not at all, and if
    /// it was acknowledged, it was.
    async fn crash(&mut self, setup: &Setup, pinner: Pinner, admin: &sqlx::PgPool) -> Pinner {
        let over = self.pass_time(admin).await;
        let mut busy = over.clone();
        let operations: Vec<_> = (0..12).map(|n| (n % ORGS, self.choose(n % ORGS, &mut busy))).collect();
        self.forget_settled(&busy);
        let wait = Duration::from_micros(self.random.random_range(0..60_000));
        let requests = join_all(operations.iter().map(|(org, operation)| operation.send(&self.orgs[*org].client)));
        let kill = async {
            tokio::time::sleep(wait).await;
            pinner.kill().await;
        };
        let (answers, ()) = tokio::join!(requests, kill);
        let pinner = setup.start().await;
        let stored = join_all(self.orgs.iter().map(|org| listed(&org.client))).await;
        for ((org, operation), answer) in operations.iter().zip(answers) {
            let (pins, stored) = (&mut self.orgs[*org].pins, &stored[*org]);
            match answer {
                Ok(answer) => operation.apply(pins, &answer),
                Err(_) => adopt(operation, pins, stored),
            }
        }
        self.forget(admin, &over).await;
        pinner
    }

    /// At any moment: what is listed is the model, and what stayed held was left alone.
    async fn check(&mut self, admin: &sqlx::PgPool) {
        truth::check(admin).await;
        for org in &self.orgs {
            assert_eq!(listed(&org.client).await, org.pins);
        }
        usage::check(admin, &self.orgs).await;
        for (cid, before) in &self.settled {
            let now = (self.kubo.calls("pin/add", cid), self.kubo.calls("pin/rm", cid));
            assert_eq!(now, *before, "additions and removals of {cid}, which is pinned and held by somebody");
        }
        self.kubo.check();
    }

    /// At rest: Kubo pins what is held.
    async fn rest(&mut self, admin: &sqlx::PgPool) {
        truth::wait_for_rest(admin, SOON).await;
        self.check(admin).await;
        let held = self.held(&BTreeSet::new());
        self.kubo.look(|record| assert_eq!(record.pinned, held));
        let calls = |cid: &String| (self.kubo.calls("pin/add", cid), self.kubo.calls("pin/rm", cid));
        self.settled = held.iter().map(|cid| (cid.clone(), calls(cid))).collect();
    }

    /// What pins hold, without those that are `leaving`.
    fn held(&self, leaving: &BTreeSet<String>) -> BTreeSet<String> {
        let pins = self.orgs.iter().flat_map(|org| &org.pins).filter(|(requestid, _)| !leaving.contains(*requestid));
        pins.map(|(_, pin)| pin.cid.clone()).collect()
    }

    /// Expects nothing any more of contents whose last holders are `leaving` or gone: even if they are held again a moment
    /// later, they may have been let go in between.
    fn forget_settled(&mut self, leaving: &BTreeSet<String>) {
        let held = self.held(leaving);
        self.settled.retain(|cid, _| held.contains(cid));
    }
}

fn uuids(pins: &BTreeSet<String>) -> Vec<uuid::Uuid> {
    pins.iter().map(|pin| pin.parse::<PinId>().expect("a requestid").uuid()).collect()
}

async fn run(seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    kubo.plan(|_, before| match before % 3 {
        0 => Addition::After(Duration::from_millis(10)),
        1 => Addition::BreaksOff,
        _ => Addition::After(Duration::ZERO),
    });
    let admin = database.pool("postgres");
    let setup = Setup::new(&database, &kubo.url);
    let mut pinner = setup.start().await;
    let mut orgs = Vec::new();
    for org in 0..ORGS {
        orgs.push(Org { client: pinner.org(&format!("org-{org}")).await, pins: BTreeMap::new() });
    }
    let contents = (0..random.random_range(2..6)).map(|_| cids::fresh()).collect();
    let mut history = History { random, contents, kubo, orgs, names: 0, settled: BTreeMap::new() };
    for _ in 0..STEPS {
        match history.random.random_range(0..40) {
            0 => pinner = history.crash(&setup, pinner, &admin).await,
            1..4 => history.rest(&admin).await,
            4 => {
                history.kubo.set_present(false);
                for org in 0..ORGS {
                    history.step(org, BTreeSet::new()).await;
                }
                history.kubo.set_present(true);
            }
            5..7 => {
                let over = history.pass_time(&admin).await;
                for org in 0..ORGS {
                    history.step(org, over.clone()).await;
                }
                history.forget(&admin, &over).await;
            }
            _ => {
                let org = history.random.random_range(0..ORGS);
                history.step(org, BTreeSet::new()).await;
            }
        }
        history.check(&admin).await;
    }
    pinner = history.crash(&setup, pinner, &admin).await;
    history.rest(&admin).await;
    // Nothing but name and meta: Kubo does not hear of it.
    let calls = |history: &History| {
        history.kubo.look(|record| record.calls.iter().filter(|(call, _)| call.starts_with("pin/")).count())
    };
    let before = calls(&history);
    for org in 0..ORGS {
        let Some((old, pin)) = history.orgs[org].pins.first_key_value() else { continue };
        let operation =
            Operation::Replace { old: old.clone(), pin: Held { name: format!("last {org}"), ..pin.clone() } };
        let answer = operation.send(&history.orgs[org].client).await.expect("the service answers");
        assert_eq!(answer["status"], "pinned", "what is held already is pinned at once");
        operation.apply(&mut history.orgs[org].pins, &answer);
    }
    history.rest(&admin).await;
    assert_eq!(calls(&history), before, "calls about pins");
    pinner.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_with_crashes_in_between_leave_every_org_what_it_holds() {
    let variable = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let first = variable("SEED").unwrap_or_else(|| rand::random::<u64>() >> 1);
    for seed in (first..).take(variable("HISTORIES").unwrap_or(2) as usize) {
        println!("SEED={seed} HISTORIES=1");
        run(seed).await;
    }
}
