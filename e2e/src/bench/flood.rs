//! Row 8: fairness. How long the pins of nine orgs take from the request to `pinned` while a tenth asks for a hundred times
//! as much as they do together, against the same without it.
//!
//! All pins name local blocks, so what is waited for is the service and its queue, not the network.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use cid::Cid;
use tokio::{
    task::{JoinHandle, LocalSet, spawn_local},
    time::{sleep, sleep_until, timeout},
};

use super::{
    block,
    cpu::Watch,
    disk::synced_writes,
    figures::{Goal, Round, Rounds, as_float, median, percentile},
    http::{Connection, get, post},
    scale::Sizes,
    service::{Org, Service},
    table::{Line, Report, millis, rate, thousands},
};
use crate::story::note;

/// Orgs that want little.
const OTHERS: usize = 9;
/// What they want together, pins a second.
const CALM: u32 = 18;
/// How many times that the flood is, if the service takes as much.
const FLOOD: u32 = 100;
/// The flood's connections.
const CONNECTIONS: usize = 32;
/// Between two looks of one who waits for a pin.
const LOOK: Duration = Duration::from_millis(5);
/// The longest that anybody waits.
const PATIENCE: Duration = Duration::from_mins(5);

/// Measures row 8.
///
/// # Errors
/// When a part of the service fails, or a pin is not pinned within five minutes.
pub(super) async fn measure(sizes: &Sizes) -> Result<Report> {
    let service = Service::start(&[])?;
    let orgs = service.orgs("calm", OTHERS).await?;
    let flooder = service.org("flood").await?;
    let duration = Duration::from_secs(sizes.flood_seconds.into());
    let bench = Rc::new(Bench { service, orgs, flooder });
    // Connections and caches.
    LocalSet::new().run_until(bench.calm(Duration::from_secs(1))).await?;

    let mut rounds = Vec::new();
    let (mut rates, mut medians, mut processors) = (Vec::new(), Vec::new(), String::new());
    for number in 1..=sizes.floods {
        let disk_before = synced_writes()?;
        let quiet = LocalSet::new().run_until(bench.calm(duration)).await?;
        let supply = block::give(bench.service.kubo()?, supply(sizes)).await?;
        let watch = Watch::begin(bench.service.pids())?;
        let (flooded, sent) = LocalSet::new().run_until(bench.flooded(duration, supply)).await?;
        processors = watch.end()?;
        bench.settled().await?;
        let (ours, anchor) = (percentile(&flooded, 99.0), percentile(&quiet, 99.0));
        let flood = as_float(sent) / duration.as_secs_f64();
        note(&format!(
            "round {number}: p99 {} while the flood got {} accepted, {} without",
            millis(ours),
            rate(flood),
            millis(anchor)
        ));
        rounds.push(Round { disk_before, ours, anchor, disk_after: synced_writes()? });
        medians.push(format!("{} and {}", millis(median(&flooded)), millis(median(&quiet))));
        rates.push(rate(flood));
    }
    let rounds = Rounds(rounds);
    Ok(Report {
        lines: vec![Line {
            row: 8,
            what: "accept to pinned for others, p99, in a flood ÷ quiet".to_owned(),
            ours: millis(rounds.ours().median),
            anchor: millis(rounds.anchor().median),
            ratio: rounds.ratio(),
            goal: Goal::AtMost(1.2),
        }],
        notes: vec![
            format!(
                "8: generated: {OTHERS} orgs ask for {CALM} pins/s of local blocks together; one asks for {FLOOD} times that, or as much as {CONNECTIONS} connections get accepted: {}",
                rates.join(", ")
            ),
            format!(
                "8: {} pins of others a stretch; medians of them in a flood and quiet: {}",
                thousands(as_float(pins(duration))),
                medians.join(", ")
            ),
            format!("8: {}", rounds.noise()),
            format!("8: in the last flood: {processors}"),
        ],
    })
}

/// Pins that the others ask for in so long.
fn pins(duration: Duration) -> usize {
    usize::try_from(duration.as_secs() * u64::from(CALM)).unwrap_or(usize::MAX)
}

/// Blocks for the whole flood.
fn supply(sizes: &Sizes) -> usize {
    usize::try_from(CALM * FLOOD * sizes.flood_seconds).unwrap_or(usize::MAX)
}

struct Bench {
    service: Service,
    orgs: Vec<Org>,
    flooder: Org,
}

impl Bench {
    /// The others ask at their steady pace, whether they are answered or not, and wait for each pin. Milliseconds of each.
    async fn calm(self: &Rc<Self>, duration: Duration) -> Result<Vec<f64>> {
        let cids = block::give(self.service.kubo()?, pins(duration)).await?;
        let idle = Rc::new(RefCell::new(Vec::new()));
        let start = tokio::time::Instant::now();
        let mut waits: Vec<JoinHandle<Result<f64>>> = Vec::with_capacity(cids.len());
        for (number, (cid, org)) in (0_u32..).zip(cids.into_iter().zip(self.orgs.clone().into_iter().cycle())) {
            sleep_until(start + Duration::from_secs(1) / CALM * number).await;
            let (bench, idle) = (Rc::clone(self), Rc::clone(&idle));
            waits.push(spawn_local(async move {
                let spare = idle.borrow_mut().pop();
                let mut connection = match spare {
                    Some(connection) => connection,
                    None => Connection::open(bench.service.api()?).await?,
                };
                let took = timeout(PATIENCE, pin(&mut connection, &org, &cid)).await;
                idle.borrow_mut().push(connection);
                took.context("a pin was not pinned within five minutes")?
            }));
        }
        let mut millis = Vec::with_capacity(waits.len());
        for wait in waits {
            millis.push(wait.await.context("one who waits")??);
        }
        Ok(millis)
    }

    /// The same while the flooder floods. Also gives how many pins of the flooder were accepted.
    async fn flooded(self: &Rc<Self>, duration: Duration, supply: Vec<Cid>) -> Result<(Vec<f64>, usize)> {
        let supply = Rc::new(RefCell::new(supply));
        let start = Instant::now();
        let total = supply.borrow().len();
        let mut floods = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            let (bench, supply) = (Rc::clone(self), Rc::clone(&supply));
            floods.push(spawn_local(async move {
                let mut connection = Connection::open(bench.service.api()?).await?;
                let mut sent = 0;
                while start.elapsed() < duration {
                    let due = start.elapsed().as_secs_f64() * f64::from(CALM * FLOOD);
                    let cid = {
                        let mut supply = supply.borrow_mut();
                        if as_float(total - supply.len()) > due { None } else { supply.pop() }
                    };
                    let Some(cid) = cid else {
                        sleep(Duration::from_millis(1)).await;
                        continue;
                    };
                    accept(&mut connection, &bench.flooder, &cid).await?;
                    sent += 1;
                }
                Ok::<_, anyhow::Error>(sent)
            }));
        }
        let millis = self.calm(duration).await?;
        let mut sent = 0;
        for flood in floods {
            sent += flood.await.context("a part of the flood")??;
        }
        Ok((millis, sent))
    }

    /// Waits until the flood has run off.
    async fn settled(&self) -> Result<()> {
        let run_off = async {
            while self.service.count(&self.flooder, "queued,pinning").await? > 0 {
                sleep(Duration::from_millis(100)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, run_off).await.context("the flood has not run off within five minutes")?
    }
}

/// Milliseconds from the request until the pin shows as pinned.
async fn pin(connection: &mut Connection, org: &Org, cid: &Cid) -> Result<f64> {
    let start = Instant::now();
    let id = accept(connection, org, cid).await?;
    let look = get(&format!("/pins/{id}"), &org.token);
    loop {
        let pin = connection.send(&look).await?.json(200)?;
        match pin["status"].as_str() {
            Some("pinned") => return Ok(start.elapsed().as_secs_f64() * 1000.0),
            Some("failed") => anyhow::bail!("a pin of a local block failed: {pin}"),
            _ => sleep(LOOK).await,
        }
    }
}

/// Asks for a pin and gives its id.
async fn accept(connection: &mut Connection, org: &Org, cid: &Cid) -> Result<String> {
    let body = format!(r#"{{"cid":"{cid}"}}"#);
    let answer = connection.send(&post("/pins", &org.token, "application/json", body.as_bytes())).await?;
    let pin = answer.json(202)?;
    let id = pin["requestid"].as_str().context("a pin without its id")?;
    ensure!(id.starts_with("pin_"), "{id} is no pin's id");
    Ok(id.to_owned())
}
