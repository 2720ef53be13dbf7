//! Bad input, from every side: what is refused says so with a 4xx, and nothing is left of it afterwards.

mod bodies;
mod queries;
mod wire;

use crate::stage::{
    cids,
    client::Client,
    database::Database,
    fake_kubo::FakeKubo,
    pinner::{Pinner, Setup},
    truth,
};
use sqlx::PgPool;

/// A pinner and a client of it.
struct Scene {
    _kubo: FakeKubo,
    pinner: Pinner,
    org: Client,
    database: PgPool,
}

impl Scene {
    async fn new() -> Self {
        let (database, kubo) = (Database::new().await, FakeKubo::new().await);
        let pinner = Setup::new(&database, &kubo.url).start().await;
        let org = pinner.org("acme").await;
        Self { _kubo: kubo, pinner, org, database: database.pool("postgres") }
    }

    /// What must hold after so many pins were acknowledged, whatever else was sent.
    async fn check(&self, acknowledged: usize) {
        let metrics = reqwest::get(&self.pinner.metrics_url).await.unwrap().text().await.unwrap();
        let ours = |line: &&str| line.starts_with("anchorage_http_requests_total") && line.contains("status=\"5");
        // A probe that comes before the service is ready is told so.
        let faults: Vec<_> = metrics.lines().filter(ours).filter(|line| !line.contains("/readyz")).collect();
        assert_eq!(faults, [""; 0], "answered with faults of ours");
        assert!(metrics.contains("status=\"4"), "nothing was refused: this proves nothing");
        self.org.pin(&cids::fresh()).await;
        assert_eq!(self.org.get("/pins").await.status, 200);
        let rows: i64 = sqlx::query_scalar("select count(*) from pins").fetch_one(&self.database).await.unwrap();
        assert_eq!(rows, acknowledged as i64 + 1, "acknowledged pins and rows");
        truth::wait_for_no_open_transaction(&self.database).await;
    }
}
