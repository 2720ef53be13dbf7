//! Who leads the fleet: one at a time, whoever hangs, returns, or loses NATS.

use crate::stage::{
    cids, containers,
    database::Database,
    fake_kubo::FakeKubo,
    pinner::{Pinner, Setup},
    proxy::Proxy,
    wait::{SOON, until},
};
use nix::sys::signal::Signal;
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

async fn two(database: &Database) -> ([Pinner; 2], [FakeKubo; 2]) {
    let kubos = [FakeKubo::new().await, FakeKubo::new().await];
    let setup = Setup::new(database, &kubos[0].url);
    let pinners = [setup.start().await, setup.sibling("node-1", &kubos[1].url).start().await];
    (pinners, kubos)
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
    let database = Database::new().await;
    let (pinners, _kubos) = two(&database).await;
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

    // One that leaves in order gives its office up at once; well before a lease would end.
    new.signal(Signal::SIGTERM);
    let third = wait_for_scheduler(&admin, second.epoch, Duration::from_secs(6)).await;
    assert_eq!(third.holder, first.holder);
}

#[tokio::test]
async fn a_nats_that_lost_everything_costs_an_office_and_no_pin() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let url = reqwest::Url::parse(&containers::nats()).unwrap();
    let pinner = Setup::new(&database, &kubo.url).with("ANCHORAGE_NATS_URL", &url).start().await;
    let admin = database.pool("postgres");
    let first = wait_for_scheduler(&admin, 0, SOON).await;
    let login = async_nats::ConnectOptions::with_user_and_password(url.username().into(), "t".into());
    let streams = async_nats::jetstream::new(login.connect(url.as_str()).await.unwrap());
    for stream in ["KV_anchorage_leader", "ANCHORAGE_WORK"] {
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
