//! Row 1: durable accepts. How many pins a second the service commits and acknowledges at 256 connections, against the
//! best rate at which the same Postgres commits single rows; and how long one lone accept takes against such a commit.
//!
//! Every pin names a block that nobody has. So the node's slots are soon all held by fetches that find nothing, whatever
//! else is accepted waits in its queue, and what is measured is accepting, not pinning. The stall limit is set above the
//! bench's length, that the slots stay held.

use std::{
    cell::{Cell, RefCell},
    path::Path,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use tokio::task::LocalSet;

use super::{
    block::fresh_cid,
    cpu::Watch,
    disk::synced_writes,
    figures::{Goal, Round, Rounds, as_float, median, percentile},
    http::{Connection, post},
    postgres::{self, Amount, Measured, Pgbench},
    scale::Sizes,
    service::{Org, Service},
    table::{Line, Report, millis, rate, thousands},
};
use crate::story::note;

/// Keep-alive connections, one request at a time on each.
const CONNECTIONS: usize = 256;
/// Orgs that pin, by Zipf's law: the first one asks for a fifth of everything.
const ORGS: usize = 100;
/// Numbers of sessions at which the anchor is tried; the best counts.
const SWEEP: [usize; 5] = [1, 4, 8, 16, 32];
/// Longer than any bench runs, so that the slots stay held.
const STALL: (&str, &str) = ("ANCHORAGE_WORKER_STALL_SECONDS", "3600");

/// The anchor's table: the columns and indexes of `pins`, row-level security forced, no triggers.
const TABLE: &str = "
    create schema bench;
    create table bench.pins (like public.pins including defaults including generated including indexes);
    -- The service hands out milliseconds that are unique in the org; concurrent sessions without it need finer ones.
    alter table bench.pins alter created type timestamptz;
    alter table bench.pins enable row level security;
    alter table bench.pins force row level security;
    create policy tenant on bench.pins to bench
        using (org_id = (select current_org())) with check (org_id = (select current_org()));
    grant usage on schema bench to bench;
    grant select, insert on bench.pins to bench;
";

/// The anchor's transaction: a row like those that the service writes, by an org of the same distribution. Times are
/// unique in the org, and ids grow with time, as the service's do.
const TRANSACTION: &str = "
\\set org random_zipfian(1, 100, 1.001)
\\set seed random(0, 4611686018427387903)
begin;
select set_config('anchorage.org', '00000000-0000-4000-8000-' || lpad(to_hex(:org::bigint), 12, '0'), true);
insert into bench.pins (org_id, id, created, cid, content, name, name_folded, copies_min, copies_max)
select
    current_org(),
    (lpad(to_hex((extract(epoch from now()) * 1000)::bigint), 12, '0') || '7' || right(md5(h::text), 19))::uuid,
    date_bin('100 microseconds', clock_timestamp(), 'epoch') + :client_id * interval '1 microsecond',
    'bafkrei' || left(encode(h, 'hex'), 52),
    '\\x01551220'::bytea || h,
    'bench',
    'bench',
    1,
    1
from sha256(int8send(:seed)) as h;
commit;
";

/// Measures row 1.
///
/// # Errors
/// When a part of the service fails, or an acknowledged pin is not stored.
pub(super) async fn measure(sizes: &Sizes) -> Result<Report> {
    let bench = Bench::prepare_in(None).await?;
    let (mut rates, mut times) = (Vec::new(), Vec::new());
    let (mut best, mut waits, mut acknowledged) = (Vec::new(), Vec::new(), 0);
    let mut processors = String::new();
    for number in 1..=sizes.rounds {
        let disk_before = synced_writes()?;
        let (clients, anchor) = bench.sweep(sizes).await?;
        let watch = Watch::begin(bench.service.pids())?;
        let load = bench.load(Duration::from_secs(sizes.accept_seconds.into())).await?;
        processors = watch.end()?;
        let disk_between = synced_writes()?;
        rates.push(Round { disk_before, ours: load.rate(), anchor: anchor.rate, disk_after: disk_between });
        note(&format!("round {number}: {} accepted, anchor {} at c={clients}", rate(load.rate()), rate(anchor.rate)));
        best.push(clients.to_string());

        let lone_anchor = bench.pgbench.run(TRANSACTION, 1, Amount::Transactions(sizes.lone_accepts)).await?;
        let lone = bench.lone(sizes.lone_accepts).await?;
        let (ours, anchor) = (median(&lone.millis), lone_anchor.spread().median);
        times.push(Round { disk_before: disk_between, ours, anchor, disk_after: synced_writes()? });
        note(&format!("round {number}: a lone accept {}, a lone transaction {}", millis(ours), millis(anchor)));
        acknowledged += load.millis.len() + lone.millis.len();
        waits.extend(load.millis);
    }
    let stored = bench.stored().await?;
    ensure!(stored == acknowledged, "{acknowledged} pins were acknowledged, {stored} are stored");
    let (rates, times) = (Rounds(rates), Rounds(times));
    Ok(Report {
        lines: vec![
            Line {
                row: 1,
                what: format!("durable accepts, {CONNECTIONS} connections ÷ single-row commits"),
                ours: rate(rates.ours().median),
                anchor: rate(rates.anchor().median),
                ratio: rates.ratio(),
                goal: Goal::AtLeast(3.0),
            },
            Line {
                row: 1,
                what: "one lone accept ÷ one lone transaction, p50".to_owned(),
                ours: millis(times.ours().median),
                anchor: millis(times.anchor().median),
                ratio: times.ratio(),
                goal: Goal::AtMost(1.3),
            },
        ],
        notes: vec![
            format!("1: {}; all {} acknowledged pins are stored", bench.settings, thousands(as_float(stored))),
            format!(
                "1: generated: fresh CIDs of {ORGS} orgs by Zipf's law; the node's slots are held by fetches of blocks that nobody has"
            ),
            format!("1: anchor: pgbench -M prepared, best of c={SWEEP:?} was c={}", best.join(", ")),
            format!(
                "1: accepts: {}; p50 {}, p99 {} at {CONNECTIONS} connections",
                rates.noise(),
                millis(median(&waits)),
                millis(percentile(&waits, 99.0))
            ),
            format!("1: lone: {}", times.noise()),
            format!("1: accepting, last round: {processors}"),
        ],
    })
}

/// A service whose slots are held, with its orgs and the anchor's table.
pub(super) struct Bench {
    pub(super) service: Service,
    orgs: Vec<Org>,
    pgbench: Pgbench,
    settings: String,
}

/// What a load gave.
pub(super) struct Load {
    /// Milliseconds of each accept.
    pub(super) millis: Vec<f64>,
    elapsed: Duration,
}

impl Load {
    pub(super) fn rate(&self) -> f64 {
        as_float(self.millis.len()) / self.elapsed.as_secs_f64()
    }
}

impl Bench {
    /// Makes it, in a state directory that stays or in one that goes with it.
    pub(super) async fn prepare_in(state: Option<&Path>) -> Result<Self> {
        let service = Service::start_in(state, &[STALL])?;
        let mut session = postgres::superuser(&service).await?;
        let settings = postgres::durable(&mut session).await?;
        postgres::make_role(&mut session).await?;
        sqlx::raw_sql(TABLE).execute(&mut session).await.context("make the anchor's table")?;
        let pgbench = Pgbench::of(&service)?;
        let orgs = service.orgs("bench", ORGS).await?;
        let bench = Self { service, orgs, pgbench, settings };
        // Connections, caches and the node's slots fill.
        bench.load(Duration::from_secs(1)).await?;
        bench.pgbench.run(TRANSACTION, 4, Amount::Seconds(1)).await?;
        sqlx::raw_sql("truncate bench.pins; create table bench.before as select count(*) as pins from public.pins")
            .execute(&mut session)
            .await?;
        Ok(bench)
    }

    /// The anchor at every number of sessions: the best one and its number.
    async fn sweep(&self, sizes: &Sizes) -> Result<(usize, Measured)> {
        let mut best: Option<(usize, Measured)> = None;
        for clients in SWEEP {
            let measured = self.pgbench.run(TRANSACTION, clients, Amount::Seconds(sizes.accept_seconds)).await?;
            if best.as_ref().is_none_or(|(_, best)| measured.rate > best.rate) {
                best = Some((clients, measured));
            }
        }
        best.context("an empty sweep")
    }

    /// Accepts on all connections for so long.
    pub(super) async fn load(&self, duration: Duration) -> Result<Load> {
        let zipf = Rc::new(Zipf::new(self.orgs.iter().map(Request::new).collect()));
        let mut connections = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            connections.push(Connection::open(self.service.api()?).await?);
        }
        let start = Instant::now();
        let (all, last) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(start)));
        let tasks = LocalSet::new();
        let handles: Vec<_> = connections
            .into_iter()
            .map(|mut connection| {
                let (zipf, all, last) = (Rc::clone(&zipf), Rc::clone(&all), Rc::clone(&last));
                tasks.spawn_local(async move {
                    while start.elapsed() < duration {
                        let took = accept(&mut connection, &mut zipf.pick().clone()).await?;
                        all.borrow_mut().push(took);
                        last.set(Instant::now());
                    }
                    Ok::<_, anyhow::Error>(())
                })
            })
            .collect();
        tasks.await;
        for handle in handles {
            handle.await.context("a connection's task")??;
        }
        let elapsed = last.get() - start;
        Ok(Load { millis: all.take(), elapsed })
    }

    /// Accepts one after the other.
    async fn lone(&self, count: usize) -> Result<Load> {
        let zipf = Zipf::new(self.orgs.iter().map(Request::new).collect());
        let mut connection = Connection::open(self.service.api()?).await?;
        let start = Instant::now();
        let mut millis = Vec::with_capacity(count);
        for _ in 0..count {
            millis.push(accept(&mut connection, &mut zipf.pick().clone()).await?);
        }
        Ok(Load { millis, elapsed: start.elapsed() })
    }

    /// Pins that were stored since the bench was prepared.
    async fn stored(&self) -> Result<usize> {
        let mut session = postgres::superuser(&self.service).await?;
        let pins: i64 = sqlx::query_scalar("select (select count(*) from public.pins) - pins from bench.before")
            .fetch_one(&mut session)
            .await?;
        usize::try_from(pins).context("fewer pins than before")
    }
}

async fn accept(connection: &mut Connection, request: &mut Request) -> Result<f64> {
    let bytes = request.with_fresh_cid();
    let start = Instant::now();
    let answer = connection.send(bytes).await?;
    let took = start.elapsed();
    ensure!(answer.status == 202, "POST /pins answered {}: {}", answer.status, String::from_utf8_lossy(answer.body));
    Ok(took.as_secs_f64() * 1000.0)
}

/// A request for a pin, made but for its CID.
#[derive(Clone)]
struct Request {
    bytes: Vec<u8>,
    cid: std::ops::Range<usize>,
}

impl Request {
    fn new(org: &Org) -> Self {
        let cid = fresh_cid().to_string();
        let body = format!(r#"{{"cid":"{cid}","name":"bench"}}"#);
        let bytes = post("/pins", &org.token, "application/json", body.as_bytes());
        let at = bytes.len() - body.len() + r#"{"cid":""#.len();
        Self { bytes, cid: at..at + cid.len() }
    }

    fn with_fresh_cid(&mut self) -> &[u8] {
        self.bytes[self.cid.clone()].copy_from_slice(fresh_cid().to_string().as_bytes());
        &self.bytes
    }
}

/// Things of which the n-th is taken in proportion to 1/n.
struct Zipf<T> {
    things: Vec<T>,
    /// Up to which part of 1 each thing reaches.
    bounds: Vec<f64>,
}

impl<T> Zipf<T> {
    fn new(things: Vec<T>) -> Self {
        let weights = (1..=things.len()).map(|rank| 1.0 / as_float(rank));
        let total: f64 = weights.clone().sum();
        let bounds = weights.scan(0.0, |sum, weight| {
            *sum += weight / total;
            Some(*sum)
        });
        Self { bounds: bounds.collect(), things }
    }

    fn pick(&self) -> &T {
        self.at(rand::random::<f64>())
    }

    fn at(&self, chance: f64) -> &T {
        let index = self.bounds.partition_point(|bound| *bound <= chance);
        &self.things[index.min(self.things.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_gets_another_cid_in_the_same_place() {
        let mut request = Request::new(&Org { id: String::new(), token: "t".to_owned() });
        let before = String::from_utf8(request.bytes.clone()).unwrap();
        let after = String::from_utf8(request.with_fresh_cid().to_vec()).unwrap();
        let frame = |text: &str| text.split("bafkrei").next().unwrap().to_owned();
        assert_ne!(before, after);
        assert_eq!((before.len(), frame(&before)), (after.len(), frame(&after)));
        let body: serde_json::Value = serde_json::from_str(after.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(body["name"], "bench");
    }

    #[test]
    fn the_first_of_zipf_comes_twice_as_often_as_the_second() {
        let zipf = Zipf::new(vec!['a', 'b', 'c']);
        let counts = (0..1100).map(|part| *zipf.at((f64::from(part) + 0.5) / 1100.0));
        let counts = counts.fold([0, 0, 0], |mut counts, thing| {
            counts[thing as usize - 'a' as usize] += 1;
            counts
        });
        assert_eq!(counts, [600, 300, 200]);
        assert_eq!(*zipf.at(1.0), 'c');
    }
}
