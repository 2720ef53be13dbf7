//! Readiness, migration and metrics.

use crate::stage::{
    cids,
    client::Client,
    containers::postgres,
    database::Database,
    fake_kubo::FakeKubo,
    pinner::Setup,
    truth,
    wait::{SOON, until},
};
use futures::future::join_all;
use nix::sys::signal::Signal;
use std::process::Output;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_database_that_is_not_as_it_must_be_keeps_the_pinner_from_ready_with_the_cure() {
    let kubo = FakeKubo::new().await;
    let swapped = Database::new().await;
    let worker_url = swapped.url("anchorage_worker");
    let wrong_role = Setup::new(&swapped, &kubo.url).with("ANCHORAGE_DATABASE_API_URL", worker_url);
    let superuser = Setup::new(&swapped, &kubo.url).with("ANCHORAGE_DATABASE_WORKER_URL", swapped.url("postgres"));
    let old = Database::new().await;
    old.pool("postgres").acquire().await.unwrap();
    sqlx::query("delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)")
        .execute(&old.pool("postgres"))
        .await
        .unwrap();
    let empty = Database::empty("never_migrated", swapped.port).await;
    let open = Database::new().await;
    sqlx::query("alter table pins no force row level security").execute(&open.pool("postgres")).await.unwrap();
    let wrong_password = Setup::new(&swapped, &kubo.url)
        .with("ANCHORAGE_DATABASE_METRICS_URL", swapped.url("anchorage_metrics").replace("of-a-service", "wrong"));
    let cases = [
        (wrong_role, "must be anchorage_api: set database.apiUrl"),
        (superuser, "must be anchorage_worker: set database.workerUrl"),
        (Setup::new(&old, &kubo.url), ", this program needs "),
        (Setup::new(&empty, &kubo.url), "run `anchorage migrate`"),
        (Setup::new(&open, &kubo.url), "row-level security is not forced on pins"),
        (wrong_password, "the database does not answer as anchorage_metrics"),
    ];
    join_all(cases.map(|(setup, cure)| async move {
        let mut pinner = setup.launch();
        let body = pinner.wait_for(cure, 503).await;
        assert!(!body.contains("of-a-service") && !pinner.log().contains("of-a-service"), "a password was told");
        assert!(pinner.log().contains(cure), "the log says it too: {}", pinner.log());
        assert_eq!(Client::new(&pinner.url, None).get("/livez").await.status, 200);
        pinner.signal(Signal::SIGTERM);
        assert_eq!(pinner.ended(SOON).await.code(), Some(0), "it can be stopped while it waits");
    }))
    .await;
}

/// On a Postgres of its own, since roles belong to all databases.
#[tokio::test]
async fn migration_makes_what_is_missing_any_number_of_times_and_at_once() {
    let server = postgres();
    let database = Database::empty("mine", server).await;
    let kubo = FakeKubo::new().await;

    // A role that may not create roles names the one that is missing, and who can help.
    database.on_server("create role somebody login password 'of-the-superuser' nosuperuser nocreaterole").await;
    let as_somebody = database.url("postgres").replace("//postgres:", "//somebody:");
    let output = database.migrate_as(&as_somebody).await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        said(&output).contains("somebody")
            && said(&output).contains("CREATEROLE")
            && said(&output).contains("anchorage_owner"),
        "{}",
        said(&output)
    );

    for output in join_all((0..4).map(|_| database.migrate())).await {
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    let again = database.migrate().await;
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));

    // Another database of the same server, by the role that the first migration made for it.
    database.on_server("alter role anchorage_migrator password 'of-the-superuser'").await;
    let second = Database::empty("second", server).await;
    second.on_server("grant all on database second to anchorage_migrator").await;
    let by_migrator =
        database.migrate_as(&database.url("postgres").replace("//postgres:", "//anchorage_migrator:")).await;
    assert_eq!(by_migrator.status.code(), Some(0), "{}", said(&by_migrator));

    // With the real roles made too powerful, nothing is served.
    let setup = Setup::new(&database, &kubo.url);
    for (give, take) in [
        ("alter role anchorage_api superuser", "alter role anchorage_api nosuperuser"),
        ("alter role anchorage_worker bypassrls", "alter role anchorage_worker nobypassrls"),
        ("grant anchorage_owner to anchorage_api", "revoke anchorage_owner from anchorage_api"),
    ] {
        database.on_server(give).await;
        let pinner = setup.launch();
        pinner.wait_for("is a superuser, bypasses row-level security or may become the owner", 503).await;
        database.on_server(take).await;
        pinner.wait_for("[+]database ok", 200).await;
    }
    let down = database.migrate_as("postgres://postgres:x@127.0.0.1:1/x").await;
    assert_eq!(down.status.code(), Some(1));
    assert!(said(&down).contains("database.adminUrl"), "{}", said(&down));
}

#[tokio::test]
async fn metrics_go_to_listed_peers_whatever_a_header_says() {
    let (database, kubo) = (Database::new().await, FakeKubo::new().await);
    let closed = Setup::new(&database, &kubo.url).with("ANCHORAGE_METRICS_ALLOW_CIDRS", "10.0.0.0/8").start().await;
    let http = reqwest::Client::new();
    for header in ["x-forwarded-for", "forwarded", "x-real-ip", "host"] {
        let value = if header == "forwarded" { "for=10.1.2.3" } else { "10.1.2.3" };
        let answer = http.get(&closed.metrics_url).header(header, value).send().await.unwrap();
        assert_eq!(answer.status(), 403, "{header}");
        assert!(!answer.text().await.unwrap().contains("anchorage_"), "{header}");
    }
    drop(closed);
    let open = Setup::new(&database, &kubo.url).start().await;
    let org = open.org("acme").await;
    let id = org.pin(&cids::fresh()).await;
    truth::wait_for_rest(&database.pool("postgres"), SOON).await;
    org.get(&format!("/pins/{id}")).await.expect(200);
    let text = until("all that happened is counted", SOON, async || {
        let text = http.get(&open.metrics_url).send().await.unwrap().text().await.unwrap();
        let counted = [
            "anchorage_nodes_live 1",
            "anchorage_pins_accepted_total 1",
            r#"anchorage_pins_finished_total{result="pinned"} 1"#,
            r#"anchorage_http_requests_total{method="GET",route="/pins/{requestid}",status="200"} 1"#,
            r#"anchorage_http_request_duration_seconds_count{method="POST",route="/pins"} 1"#,
            r#"anchorage_dependency_up{dependency="database"} 1"#,
        ];
        counted.iter().all(|line| text.contains(line)).then_some(text)
    })
    .await;
    assert!(!text.contains(&id), "a label from a path");
    assert!(!text.contains(r#"anchorage_placements{status="unpinning"}"#), "a status without placements is not there");
    assert_eq!(open.admin().get("/metrics").await.status, 404, "not on the port of the API");
}
