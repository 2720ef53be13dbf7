//! What must hold in the database whatever happened, asked of the tables themselves.

use super::wait::until;
use sqlx::PgPool;
use std::{collections::BTreeSet, time::Duration};

/// Each query gives a row for each place where something is not as it must be.
const CONTRADICTIONS: [(&str, &str); 5] = [
    (
        "contents.refs is not the number of pins",
        "select format('%s: %s but %s', encode(key, 'hex'), refs, pins) from (
            select key, refs, (select count(*) from pins where content = key) as pins from contents
         ) counted where refs <> pins",
    ),
    (
        "a pin's content is not there",
        "select id::text from pins where not exists (select from contents where key = content)",
    ),
    (
        "pin_counts is not count(*)",
        "select format('%s %s: %s but %s', org_id, status, counted, real) from (
            select org_id, status, sum(pins) as counted,
                (select count(*) from pins p where p.org_id = c.org_id and p.status = c.status) as real
            from pin_counts c group by org_id, status
         ) both_ways where counted <> real",
    ),
    (
        "pins that pin_counts does not know",
        "select distinct org_id::text from pins p
         where not exists (select from pin_counts c where c.org_id = p.org_id and c.status = p.status)",
    ),
    (
        "a content that nobody holds is not being let go",
        "select encode(content, 'hex') from placements join contents on key = content where refs = 0 and status <> 'unpinning'",
    ),
];

/// Fails if counters and truth differ. They may never do so, not even for a moment.
pub(crate) async fn check(admin: &PgPool) {
    for (what, query) in CONTRADICTIONS {
        let found: Vec<String> = sqlx::query_scalar(query).fetch_all(admin).await.expect("a well-formed query");
        assert!(found.is_empty(), "{what}: {found:?}");
    }
}

/// Waits until there is nothing left to do: everything held is pinned on as many nodes as it should be, nothing else is
/// left. A pin that was accepted before its pinner knew of the other nodes gets its further copies at a sweep.
pub(crate) async fn wait_for_rest(admin: &PgPool, within: Duration) {
    let open = "select (select count(*) from placements where status <> 'pinned') + (select count(*) from contents where short)";
    until("every placement is there and pinned", within, async || {
        let open: i64 = sqlx::query_scalar(open).fetch_one(admin).await.expect("a well-formed query");
        (open == 0).then_some(())
    })
    .await;
    check(admin).await;
    let rest =
        "select (select count(*) from contents where refs = 0) + (select count(*) from pins where status <> 'pinned')";
    let rest: i64 = sqlx::query_scalar(rest).fetch_one(admin).await.expect("a well-formed query");
    assert_eq!(rest, 0, "contents without pins, or pins that are not pinned");
}

/// Every content that is held, in hexadecimal.
pub(crate) async fn contents(admin: &PgPool) -> BTreeSet<String> {
    let held: Vec<String> = sqlx::query_scalar("select encode(key, 'hex') from contents")
        .fetch_all(admin)
        .await
        .expect("a well-formed query");
    held.into_iter().collect()
}
