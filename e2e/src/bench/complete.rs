//! Row 2: pins completed. How many pins of local one-block DAGs a second the service takes from the request to `pinned`,
//! against a bare loop of concurrent `pin/add` on the same Kubo with other blocks of the same kind; and how many calls
//! of Kubo's RPC each pin costs.

use std::{
    cell::RefCell,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use cid::Cid;
use tokio::{
    task::LocalSet,
    time::{sleep, timeout},
};

use super::{
    block,
    cpu::Watch,
    disk::synced_writes,
    figures::{Goal, Round, Rounds, Spread, as_float},
    http::{Connection, post},
    scale::Sizes,
    service::{Org, Service},
    table::{Line, Report, rate},
};
use crate::story::note;

/// Numbers of concurrent calls at which the anchor is tried; the best counts.
const SWEEP: [usize; 3] = [8, 16, 32];
/// Connections that ask the service for pins.
const CONNECTIONS: usize = 32;
/// Orgs that do.
const ORGS: usize = 8;
/// Between two looks whether all is pinned.
const LOOK: Duration = Duration::from_millis(20);
/// A round that takes longer has lost a pin.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long the calls are counted that come without any pin.
const IDLE: Duration = Duration::from_secs(6);

/// Measures row 2.
///
/// # Errors
/// When a part of the service fails, or a pin is not pinned within five minutes.
pub(super) async fn measure(sizes: &Sizes) -> Result<Report> {
    let service = Service::start(&[])?;
    let orgs = service.orgs("bench", ORGS).await?;
    let kubo = service.kubo()?;
    let count = sizes.completions;
    // Connections and caches.
    through_the_service(&service, &orgs, &block::give(kubo, count / 4).await?).await?;
    let idle = calls_at_rest(kubo).await?;

    let (mut rounds, mut per_pin, mut best) = (Vec::new(), Vec::new(), Vec::new());
    let mut processors = String::new();
    for number in 1..=sizes.rounds {
        let mut anchors = Vec::new();
        for clients in SWEEP {
            anchors.push((clients, block::give(kubo, count).await?));
        }
        let ours = block::give(kubo, count).await?;
        let disk_before = synced_writes()?;
        let mut anchor = (0, 0.0);
        for (clients, cids) in anchors {
            let rate = as_float(count) / bare(kubo, clients, &cids).await?.as_secs_f64();
            if rate > anchor.1 {
                anchor = (clients, rate);
            }
        }
        let (watch, called) = (Watch::begin(service.pids())?, calls(kubo).await?);
        let elapsed = through_the_service(&service, &orgs, &ours).await?.as_secs_f64();
        // The pulse is no clockwork: a call more or less a round is not a pin's.
        let own = calls(kubo).await? - called - idle * elapsed;
        per_pin.push((own / as_float(count) * 100.0).round() / 100.0);
        processors = watch.end()?;
        let pinned = as_float(count) / elapsed;
        rounds.push(Round { disk_before, ours: pinned, anchor: anchor.1, disk_after: synced_writes()? });
        note(&format!("round {number}: {} pinned, bare loop {} at c={}", rate(pinned), rate(anchor.1), anchor.0));
        best.push(anchor.0.to_string());
    }
    let (rounds, per_pin) = (Rounds(rounds), Spread::of(&per_pin));
    Ok(Report {
        lines: vec![
            Line {
                row: 2,
                what: "pins completed ÷ bare pin/add".to_owned(),
                ours: rate(rounds.ours().median),
                anchor: rate(rounds.anchor().median),
                ratio: rounds.ratio(),
                goal: Goal::AtLeast(0.9),
            },
            Line {
                row: 2,
                what: "calls of Kubo's RPC per pin".to_owned(),
                ours: format!("{:.2}", per_pin.median),
                anchor: "1".to_owned(),
                ratio: per_pin,
                goal: Goal::AtMost(2.0),
            },
        ],
        notes: vec![
            format!(
                "2: generated: {count} local raw blocks of 32 bytes a round for {ORGS} orgs, and as many for each step of the anchor; one node, one copy"
            ),
            format!(
                "2: anchor: bare pin/add, best of c={SWEEP:?} was c={}; calls at rest ({idle:.1}/s) are left out",
                best.join(", ")
            ),
            format!("2: {}", rounds.noise()),
            format!("2: last round: {processors}"),
        ],
    })
}

/// Pins `cids` by Kubo alone.
async fn bare(kubo: SocketAddr, clients: usize, cids: &[Cid]) -> Result<Duration> {
    let requests = cids.iter().map(|cid| post(&format!("/api/v0/pin/add?arg={cid}"), "", "text/plain", b"")).collect();
    send_all(kubo, clients, requests, 200).await
}

/// Pins `cids` through the service: from the first request until the lists of all orgs show no pin that is under way.
async fn through_the_service(service: &Service, orgs: &[Org], cids: &[Cid]) -> Result<Duration> {
    let ask = |(cid, org): (&Cid, &Org)| {
        let body = format!(r#"{{"cid":"{cid}"}}"#);
        post("/pins", &org.token, "application/json", body.as_bytes())
    };
    let requests = cids.iter().zip(orgs.iter().cycle()).map(ask).collect();
    let start = Instant::now();
    send_all(service.api()?, CONNECTIONS, requests, 202).await?;
    let finished = async {
        for org in orgs {
            while service.count(org, "queued,pinning").await? > 0 {
                sleep(LOOK).await;
            }
        }
        Ok::<_, anyhow::Error>(start.elapsed())
    };
    let elapsed = timeout(PATIENCE, finished).await.context("some pins were not pinned within five minutes")??;
    for org in orgs {
        let failed = service.count(org, "failed").await?;
        ensure!(failed == 0, "{failed} pins of local blocks failed");
    }
    Ok(elapsed)
}

/// Sends all requests over so many connections, each as soon as the one before it is answered.
pub(super) async fn send_all(
    address: SocketAddr,
    connections: usize,
    requests: Vec<Vec<u8>>,
    expected: u16,
) -> Result<Duration> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(Connection::open(address).await?);
    }
    let queue = Rc::new(RefCell::new(requests));
    let tasks = LocalSet::new();
    let start = Instant::now();
    let handles: Vec<_> = open
        .into_iter()
        .map(|mut connection| {
            let queue = Rc::clone(&queue);
            tasks.spawn_local(async move {
                loop {
                    let request = queue.borrow_mut().pop();
                    let Some(request) = request else { return Ok::<_, anyhow::Error>(()) };
                    let answer = connection.send(&request).await?;
                    let said = String::from_utf8_lossy(answer.body);
                    ensure!(answer.status == expected, "{address} answered {}: {said}", answer.status);
                }
            })
        })
        .collect();
    tasks.await;
    for handle in handles {
        handle.await.context("a connection's task")??;
    }
    Ok(start.elapsed())
}

/// Calls a second that come without any pin: the pinner's pulse.
async fn calls_at_rest(kubo: SocketAddr) -> Result<f64> {
    let before = calls(kubo).await?;
    sleep(IDLE).await;
    Ok((calls(kubo).await? - before) / IDLE.as_secs_f64())
}

/// Calls of Kubo's RPC so far, as Kubo counts them.
async fn calls(kubo: SocketAddr) -> Result<f64> {
    let request = b"GET /debug/metrics/prometheus HTTP/1.1\r\nHost: bench\r\n\r\n";
    let mut connection = Connection::open(kubo).await?;
    let answer = connection.send(request).await?;
    let text = std::str::from_utf8(answer.body).context("read Kubo's metrics")?;
    posts(text).context("Kubo's metrics do not count requests")
}

/// Sum of the counters of requests by POST, which all of the RPC is.
fn posts(metrics: &str) -> Option<f64> {
    let lines = metrics.lines().filter(|line| line.starts_with("ipfs_http_requests_total{"));
    let counts =
        lines.filter(|line| line.contains("method=\"post\"")).map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    counts.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_are_counted() {
        let metrics = "# HELP ipfs_http_requests_total Total number of HTTP requests made.
ipfs_http_requests_total{code=\"200\",handler=\"api\",method=\"get\"} 1
ipfs_http_requests_total{code=\"200\",handler=\"api\",method=\"post\"} 40
ipfs_http_requests_total{code=\"500\",handler=\"api\",method=\"post\"} 2
ipfs_http_request_size_bytes_count{handler=\"api\"} 43
";
        assert_eq!(posts(metrics), Some(42.0));
    }
}
