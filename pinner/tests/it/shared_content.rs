//! One content for all orgs: held while any pin holds it, let go with the last.

use crate::stage::{
    cids,
    client::{ALL, Client, id},
    database::Database,
    fake_kubo::{Addition, FakeKubo},
    map::wait_for_map_of,
    pinner::Setup,
    truth,
    wait::{SOON, until},
};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::json;
use std::{collections::BTreeMap, collections::BTreeSet, time::Duration};

#[tokio::test]
async fn a_content_stays_until_the_last_org_lets_it_go() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let admin = database.pool("postgres");
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let (a, b) = (pinner.org("a").await, pinner.org("b").await);
    let cid = cids::fresh();
    let (first, second, third) = (a.pin(&cid).await, b.pin(&cid).await, b.pin(&cid).await);
    truth::wait_for_rest(&admin, SOON).await;
    for (org, pin) in [(&a, &first), (&b, &second)] {
        org.delete(&format!("/pins/{pin}")).await.expect(202);
        truth::wait_for_rest(&admin, SOON).await;
        assert_eq!(
            (kubo.calls("pin/rm", &cid), b.status(&third).await),
            (0, "pinned".into()),
            "somebody still holds it"
        );
    }
    b.delete(&format!("/pins/{third}")).await.expect(202);
    until("Kubo lets it go", SOON, async || (kubo.calls("pin/rm", &cid) == 1).then_some(())).await;
    truth::wait_for_rest(&admin, SOON).await;
    assert!(truth::contents(&admin).await.is_empty());
    assert_eq!(kubo.calls("pin/add", &cid), 1);
    kubo.check();
}

#[tokio::test]
async fn what_is_to_be_let_go_and_is_needed_after_all_stays_pinned() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let admin = database.pool("postgres");
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let org = pinner.org("a").await;
    let cid = cids::fresh();
    org.pin(&cid).await;
    truth::wait_for_rest(&admin, SOON).await;
    // As after a decision that the end of the other copies overtook.
    let released = "update placements set status = 'unpinning', generation = generation + 1, next_attempt = now()";
    sqlx::query(released).execute(&admin).await.unwrap();
    let pinned = "select count(*) from placements where status = 'pinned'";
    until("it is pinned again", SOON, async || {
        let pinned: i64 = sqlx::query_scalar(pinned).fetch_one(&admin).await.unwrap();
        (pinned == 1).then_some(())
    })
    .await;
    truth::wait_for_rest(&admin, SOON).await;
    assert_eq!((kubo.calls("pin/add", &cid), kubo.calls("pin/rm", &cid)), (1, 0));
    kubo.check();
}

#[tokio::test]
async fn what_only_a_dead_kubo_holds_besides_is_not_let_go_though_its_pinner_lives() {
    let (database, kubos) = (Database::new().await, [FakeKubo::new().await, FakeKubo::new().await]);
    let admin = database.pool("postgres");
    let setup =
        Setup::new(&database, &kubos[0].url).with("ANCHORAGE_REPLICATION_MIN", 1).with("ANCHORAGE_REPLICATION_MAX", 2);
    let pinners = [setup.start().await, setup.sibling("node-1", &kubos[1].url).start().await];
    let org = pinners[0].org("a").await;
    let cid = cids::fresh();
    org.pin(&cid).await;
    until("it is on both", SOON, async || {
        kubos.iter().all(|kubo| kubo.look(|record| record.pinned.contains(&cid))).then_some(())
    })
    .await;
    truth::wait_for_rest(&admin, SOON).await;

    kubos[1].set_present(false);
    until("its pinner knows", SOON, async || {
        let ready = "select kubo_ready from nodes where name = 'node-1'";
        (!sqlx::query_scalar::<_, bool>(ready).fetch_one(&admin).await.unwrap()).then_some(())
    })
    .await;
    // It has been away for a minute.
    sqlx::query("update nodes set kubo_seen = kubo_seen - interval '1 minute' where name = 'node-1'")
        .execute(&admin)
        .await
        .unwrap();
    let released = "update placements set status = 'unpinning', generation = generation + 1, next_attempt = now()
        from nodes where nodes.id = node_id and name = 'node-0'";
    sqlx::query(released).execute(&admin).await.unwrap();
    until("it is kept", SOON, async || {
        let kept =
            "select count(*) from placements join nodes on id = node_id where name = 'node-0' and status = 'pinned'";
        (sqlx::query_scalar::<_, i64>(kept).fetch_one(&admin).await.unwrap() == 1).then_some(())
    })
    .await;
    assert_eq!(kubos[0].calls("pin/rm", &cid), 0);
    kubos[0].check();
}

#[tokio::test]
async fn replacing_a_pin_by_one_of_the_same_content_touches_kubo_not_at_all() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let admin = database.pool("postgres");
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let org = pinner.org("a").await;
    let cid = cids::fresh();
    let mut pin = org.pin(&cid).await;
    truth::wait_for_rest(&admin, SOON).await;
    for n in 0..5 {
        let replaced =
            org.post(&format!("/pins/{pin}"), &json!({"cid": cid, "meta": {"n": n.to_string()}})).await.expect(202);
        assert_eq!(replaced["status"], "pinned", "what is held already is pinned at once");
        pin = id(&replaced);
    }
    truth::wait_for_rest(&admin, SOON).await;
    assert_eq!((kubo.calls("pin/add", &cid), kubo.calls("pin/rm", &cid)), (1, 0));
    kubo.check();
}

/// What one org should have, kept beside the service.
#[derive(Default)]
struct Model {
    pins: BTreeMap<String, String>,
}

/// Does something random that may be done, and notes it once it was acknowledged.
async fn step(org: &Client, model: &mut Model, contents: &[String], random: &mut StdRng) {
    let cid = contents.choose(random).expect("not empty").clone();
    let ids: Vec<_> = model.pins.keys().cloned().collect();
    match (random.random_range(0..10), ids.choose(random)) {
        (0..3, Some(old)) => {
            let replaced = org.post(&format!("/pins/{old}"), &json!({"cid": cid})).await.expect(202);
            model.pins.remove(old);
            model.pins.insert(id(&replaced), cid);
        }
        (3, Some(_)) => {
            let few: Vec<_> = ids.iter().take(random.random_range(1..5)).collect();
            org.post("/api/v1/pins/delete", &json!({"requestids": few})).await.expect(200);
            few.into_iter().for_each(|old| drop(model.pins.remove(old)));
        }
        (4..7, Some(old)) => {
            org.delete(&format!("/pins/{old}")).await.expect(202);
            model.pins.remove(old);
        }
        _ => {
            model.pins.insert(org.pin(&cid).await, cid);
        }
    }
}

/// Whether the service lists what the model holds, and Kubo holds that and nothing else.
async fn compare(orgs: &[(Client, Model)], kubos: &[&FakeKubo], copies: usize) {
    let mut held = BTreeSet::new();
    for (org, model) in orgs {
        let page = org.get(&format!("/pins?limit=1000&status={ALL}")).await.expect(200);
        let listed: BTreeMap<_, _> = page["results"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|pin| (id(pin), pin["pin"]["cid"].as_str().expect("a text").to_owned()))
            .collect();
        assert_eq!(listed, model.pins);
        held.extend(model.pins.values().cloned());
    }
    for cid in held.iter() {
        let holders = kubos.iter().filter(|kubo| kubo.look(|record| record.pinned.contains(cid))).count();
        assert_eq!(holders, copies, "copies of {cid}");
    }
    for kubo in kubos {
        kubo.check();
        kubo.look(|record| assert!(record.pinned.is_subset(&held), "holds what nobody pinned"));
    }
}

#[tokio::test]
async fn counters_are_the_truth_after_every_step_of_a_random_history() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    kubo.plan(|_, before| {
        if before % 2 == 0 { Addition::After(Duration::from_millis(15)) } else { Addition::After(Duration::ZERO) }
    });
    let admin = database.pool("postgres");
    let pinner = Setup::new(&database, &kubo.url).start().await;
    let contents: Vec<_> = (0..4).map(|_| cids::fresh()).collect();
    let mut orgs = Vec::new();
    for name in ["a", "b", "c"] {
        orgs.push((pinner.org(name).await, Model::default()));
    }
    for _ in 0..250 {
        let (org, model) = &mut orgs[random.random_range(0..3)];
        step(org, model, &contents, &mut random).await;
        truth::check(&admin).await;
    }
    truth::wait_for_rest(&admin, SOON).await;
    compare(&orgs, &[&kubo], 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_clients_on_few_contents_block_nobody_and_leave_nothing_stuck() {
    let database = Database::new().await;
    let kubos = [FakeKubo::new().await, FakeKubo::new().await];
    for kubo in &kubos {
        kubo.plan(|_, before| Addition::After(Duration::from_millis(before as u64 % 3 * 10)));
    }
    let admin = database.pool("postgres");
    let two =
        Setup::new(&database, &kubos[0].url).with("ANCHORAGE_REPLICATION_MIN", 2).with("ANCHORAGE_REPLICATION_MAX", 2);
    let pinners = [two.start().await, two.sibling("node-1", &kubos[1].url).start().await];
    wait_for_map_of(&pinners.each_ref()).await;
    let contents: Vec<_> = (0..5).map(|_| cids::fresh()).collect();
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut orgs = Vec::new();
    for name in ["a", "b", "c"] {
        orgs.push(pinners[0].org(name).await);
    }
    let tasks = (0..8_u64).map(|n| {
        let (contents, org) = (&contents, orgs[n as usize % 3].at(&pinners[n as usize % 2].url));
        async move {
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(n));
            let mut model = Model::default();
            for _ in 0..60 {
                // Anything but the success of a right request fails here: no deadlock may reach a client.
                step(&org, &mut model, contents, &mut random).await;
            }
            (n % 3, org, model)
        }
    });
    let done = futures::future::join_all(tasks).await;
    // Well within a lease: nothing had to run out to get on.
    truth::wait_for_rest(&admin, SOON).await;
    let mut by_org: BTreeMap<u64, (Client, Model)> = BTreeMap::new();
    for (name, org, model) in done {
        by_org.entry(name).or_insert_with(|| (org, Model::default())).1.pins.extend(model.pins);
    }
    compare(&by_org.into_values().collect::<Vec<_>>(), &[&kubos[0], &kubos[1]], 2).await;
    let deadlocks: i64 =
        sqlx::query_scalar("select deadlocks from pg_stat_database where datname = current_database()")
            .fetch_one(&admin)
            .await
            .expect("a well-formed query");
    println!("{deadlocks} deadlocks, each tried again");
}
