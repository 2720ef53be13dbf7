//! Metrics that are counted in the database: what vanished is gone, and what cannot be counted keeps its value.

use crate::stage::{
    database::Database,
    fake_kubo::FakeKubo,
    pinner::Setup,
    wait::{SOON, until},
};
use anchorage::{count, metrics::Metrics};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The lines about nodes and placements.
fn shown(metrics: &Metrics) -> String {
    let text = String::from_utf8(metrics.render()).unwrap();
    let lines = text
        .lines()
        .filter(|line| line.starts_with("anchorage_nodes_live") || line.starts_with("anchorage_placements"));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_count_that_fails_keeps_its_value_and_no_other_and_a_status_that_vanished_is_gone() {
    let database = Database::new().await;
    let (service, superuser) = (database.service(2), database.pool("postgres"));
    let run = async |statement: &'static str| sqlx::raw_sql(statement).execute(&superuser).await.map(|_| ()).unwrap();
    sqlx::query("insert into nodes (id, name, zone, seen) values ($1, 'a', '', now())")
        .bind(Uuid::from_u128(1))
        .execute(&superuser)
        .await
        .unwrap();
    run("insert into contents (key, refs) values ('\\x0155000101', 1), ('\\x0155000102', 1), ('\\x0155000103', 1)")
        .await;
    run("insert into placements (content, node_id, status)
         select key, '00000000-0000-0000-0000-000000000001', case key when '\\x0155000101' then 'queued' else 'pinned' end::placement_status
         from contents")
    .await;
    let metrics = Metrics::default();
    assert!(count::refresh(&service, &metrics, &mut Instant::now()).await);
    let all =
        "anchorage_nodes_live 1\nanchorage_placements{status=\"pinned\"} 2\nanchorage_placements{status=\"queued\"} 1";
    assert_eq!(shown(&metrics), all);

    // Placements cannot be counted; nodes can.
    run("revoke select on placements from anchorage_metrics; update placements set status = 'pinned'").await;
    run("insert into nodes (id, name, zone, seen) values (gen_random_uuid(), 'b', '', now())").await;
    assert!(!count::refresh(&service, &metrics, &mut Instant::now()).await);
    assert_eq!(shown(&metrics), all.replace("live 1", "live 2"));

    // The other way round.
    run("grant select on placements to anchorage_metrics; revoke select on nodes from anchorage_metrics").await;
    run("update nodes set seen = 'epoch'").await;
    assert!(!count::refresh(&service, &metrics, &mut Instant::now()).await);
    assert_eq!(shown(&metrics), "anchorage_nodes_live 2\nanchorage_placements{status=\"pinned\"} 3");

    // What counting costs is not paid again before it is time.
    run("grant select on nodes to anchorage_metrics; delete from placements").await;
    let mut good_until = Instant::now() + Duration::from_secs(3600);
    assert!(count::refresh(&service, &metrics, &mut good_until).await);
    assert_eq!(shown(&metrics), "anchorage_nodes_live 0\nanchorage_placements{status=\"pinned\"} 3");
    assert!(count::refresh(&service, &metrics, &mut Instant::now()).await);
    assert_eq!(shown(&metrics), "anchorage_nodes_live 0");
}

#[tokio::test]
async fn what_is_counted_is_there_at_once_and_what_cannot_be_is_told_in_the_log() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    sqlx::query("revoke select on placements from anchorage_metrics")
        .execute(&database.pool("postgres"))
        .await
        .unwrap();
    let pinner = Setup::new(&database, &kubo.url).start().await;
    until("the first count is there, long before the second", SOON / 2, async || {
        let text = reqwest::get(&pinner.metrics_url).await.unwrap().text().await.unwrap();
        text.lines().any(|line| line == "anchorage_nodes_live 1").then_some(())
    })
    .await;
    let warning = until("it says what it cannot count", SOON / 2, async || {
        pinner.log().lines().find(|line| line.contains("cannot count")).map(str::to_owned)
    })
    .await;
    assert!(warning.contains("WARN") && warning.contains("placements"), "{warning}");
}
