//! Who leads the fleet: one at a time, whoever hangs, returns, or loses NATS.

use crate::stage::{
    cids, containers,
    database::Database,
    fake_kubo::FakeKubo,
    pinner::{Pinner, Setup},
    proxy::Proxy,
    wait::{SOON, until},
};
use futures::StreamExt;
use nix::sys::signal::Signal;
use serde_json::json;
use sqlx::PgPool;
use std::time::Duration;

/// A lease that nobody renews ends within this, and somebody else has taken the office.
const SUCCESSION: Duration = Duration::from_secs(20);

struct Office {
    epoch: i64,
    holder: String,
}

async fn scheduler(admin: &PgPool) -> Option<Office> {
    let row: Option<(i64, String)> =
        sqlx::query_as("select epoch, name from leaders join nodes on id = node_id where role = 'scheduler'")
            .fetch_optional(admin)
            .await
            .unwrap();
    row.map(|(epoch, holder)| Office { epoch, holder })
}

async fn wait_for_scheduler(admin: &PgPool, after: i64, within: Duration) -> Office {
    until("somebody schedules", within, async || scheduler(admin).await.filter(|office| office.epoch > after)).await
}

async fn two(database: &Database, nats: &reqwest::Url) -> ([Pinner; 2], [FakeKubo; 2]) {
    let kubos = [FakeKubo::new().await, FakeKubo::new().await];
    let setup = Setup::new(database, &kubos[0].url).with("ANCHORAGE_NATS_URL", nats);
    let pinners = [setup.start().await, setup.sibling("node-1", &kubos[1].url).start().await];
    (pinners, kubos)
}

/// A connection to NATS as the pinners have it.
async fn connect(nats: &reqwest::Url) -> async_nats::Client {
    let login = async_nats::ConnectOptions::with_user_and_password(nats.username().into(), "t".into());
    login.connect(nats.as_str()).await.unwrap()
}

fn place(office: &Office) -> usize {
    usize::from(office.holder == "node-1")
}

/// Whether this pinner says in its metrics that it schedules.
async fn says_that_it_leads(pinner: &Pinner) -> bool {
    let text = reqwest::get(&pinner.metrics_url).await.unwrap().text().await.unwrap();
    text.contains("anchorage_leader{role=\"scheduler\"} 1")
}

#[tokio::test]
async fn an_office_passes_on_and_its_old_holder_can_write_nothing() {
    let (database, nats) = (Database::new().await, containers::nats().parse().unwrap());
    let (mut pinners, _kubos) = two(&database, &nats).await;
    let admin = database.pool("postgres");
    let first = wait_for_scheduler(&admin, 0, SOON).await;
    let (old, new) = (&pinners[place(&first)], &pinners[1 - place(&first)]);
    until("it says so", SOON, async || says_that_it_leads(old).await.then_some(())).await;

    // It hangs, and does not know when it goes on.
    old.signal(Signal::SIGSTOP);
    let second = wait_for_scheduler(&admin, first.epoch, SUCCESSION).await;
    assert_ne!(second.holder, first.holder);
    until("the new one says so", SOON, async || says_that_it_leads(new).await.then_some(())).await;
    let worker = database.pool("anchorage_worker");
    for statement in [
        "select fence('scheduler', $1)",
        "select commit_map($1, 99, '', '', '{}')",
        "select note_changed($1, 1)",
        "select look_at($1, 0, '{}')",
        "select arrange_contents($1, '{}', '{}', '{}', '{}')",
    ] {
        let refused = sqlx::query(statement).bind(first.epoch).execute(&worker).await.unwrap_err();
        let code = refused.as_database_error().and_then(|error| error.code()).map(|code| code.to_string());
        assert_eq!(code.as_deref(), Some("AN001"), "{statement}: {refused}");
        sqlx::query("select fence('scheduler', $1)").bind(second.epoch).execute(&worker).await.unwrap();
    }
    old.signal(Signal::SIGCONT);
    until("it has noticed", SOON, async || (!says_that_it_leads(old).await).then_some(())).await;
    assert_eq!(scheduler(&admin).await.unwrap().epoch, second.epoch);

    // One that leaves in order gives its lease back; nobody has to wait for the lease's end.
    let client = connect(&nats).await;
    let mut leases = client.subscribe("$KV.anchorage_leader.*.scheduler").await.unwrap();
    client.flush().await.unwrap();
    let new = &mut pinners[place(&second)];
    new.signal(Signal::SIGTERM);
    let given_back = async {
        let gives_back = |message: &async_nats::Message| {
            message.headers.as_ref()?.get("KV-Operation").filter(|what| what.as_str() == "DEL").map(drop)
        };
        while gives_back(&leases.next().await.expect("NATS stays")).is_none() {}
    };
    tokio::time::timeout(SOON, given_back).await.expect("the lease is given back");
    assert_eq!(new.ended(SOON).await.code(), Some(0));
    let kept = |line: &str| line.contains("the lease ends by itself") && line.contains("scheduler");
    assert!(!new.log().lines().any(kept), "it was no longer its own to give back");
    let third = wait_for_scheduler(&admin, second.epoch, SUCCESSION).await;
    assert_eq!(third.holder, first.holder);
}

#[tokio::test]
async fn no_node_is_drained_between_the_look_at_a_content_and_the_step_that_it_leads_to() {
    let database = Database::new().await;
    let (pinners, _kubos) = two(&database, &containers::nats().parse().unwrap()).await;
    let admin = database.pool("postgres");
    let office = wait_for_scheduler(&admin, 0, SOON).await;
    let worker = database.pool("anchorage_worker");
    let looking = until("the map is known", SOON, async || {
        let mut looking = worker.begin().await.unwrap();
        let look = "select look_at($1, (select map_version from fleet), '{}')";
        sqlx::query(look).bind(office.epoch).execute(&mut *looking).await.ok().map(|_| looking)
    })
    .await;
    let client = pinners[0].admin();
    let drain = tokio::spawn(async move { client.post("/admin/v1/nodes/node-1/drain", &json!({})).await.expect(200) });
    until("the drain waits", SOON, async || {
        let waits = "select exists (select from pg_locks join pg_database on oid = database
            where datname = current_database() and locktype = 'advisory' and not granted)";
        sqlx::query_scalar::<_, bool>(waits).fetch_one(&admin).await.unwrap().then_some(())
    })
    .await;
    let active = "select count(*) from nodes where scheduling = 'Active'";
    assert_eq!(sqlx::query_scalar::<_, i64>(active).fetch_one(&admin).await.unwrap(), 2);
    looking.commit().await.unwrap();
    assert_eq!(drain.await.unwrap()["scheduling"], "Drained");
}

#[tokio::test]
async fn a_nats_that_lost_everything_costs_an_office_and_no_pin() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let url = reqwest::Url::parse(&containers::nats()).unwrap();
    let pinner = Setup::new(&database, &kubo.url).with("ANCHORAGE_NATS_URL", &url).start().await;
    let admin = database.pool("postgres");
    let first = wait_for_scheduler(&admin, 0, SOON).await;
    let streams = async_nats::jetstream::new(connect(&url).await);
    for stream in ["KV_anchorage_leader", "ANCHORAGE_WORK"] {
        until("the stream was made", SOON, async || streams.get_stream(stream).await.ok().map(drop)).await;
        streams.delete_stream(stream).await.unwrap();
    }
    let org = pinner.org("acme").await;
    let pin = org.pin(&cids::fresh()).await;
    until("it is pinned", SOON, async || (org.status(&pin).await == "pinned").then_some(())).await;
    wait_for_scheduler(&admin, first.epoch, SUCCESSION).await;
}

#[tokio::test]
async fn a_leader_that_is_cut_off_from_nats_or_from_the_database_leaves_office() {
    let database = Database::new().await;
    let kubos = [FakeKubo::new().await, FakeKubo::new().await];
    let url = reqwest::Url::parse(&containers::nats()).unwrap();
    let nats = [Proxy::to(url.port().unwrap()).await, Proxy::to(url.port().unwrap()).await];
    let databases = [Proxy::to(database.port).await, Proxy::to(database.port).await];
    let setup = |n: usize| {
        let through = format!("nats://{}:t@127.0.0.1:{}", url.username(), nats[n].port);
        Setup::new(&database.through(databases[n].port), &kubos[n].url)
            .with("ANCHORAGE_NATS_URL", through)
            .with("ANCHORAGE_NODE_NAME", format!("node-{n}"))
    };
    let pinners = [setup(0).start().await, setup(1).start().await];
    let admin = database.pool("postgres");
    let first = wait_for_scheduler(&admin, 0, SOON).await;
    let of = place(&first);

    nats[of].cut();
    let second = wait_for_scheduler(&admin, first.epoch, SUCCESSION).await;
    assert_ne!(second.holder, first.holder);
    until("the first has left office", SOON, async || (!says_that_it_leads(&pinners[of]).await).then_some(())).await;
    nats[of].mend();

    databases[1 - of].cut();
    let third = wait_for_scheduler(&admin, second.epoch, SUCCESSION * 2).await;
    assert_eq!(third.holder, first.holder);
    let other = &pinners[1 - of];
    until("the second has left office", SOON, async || (!says_that_it_leads(other).await).then_some(())).await;
    databases[1 - of].mend();
}
