//! What must hold in the database whatever happened, asked of the tables themselves.

use super::wait::{SOON, until};
use sqlx::PgPool;
use std::{collections::BTreeSet, time::Duration};

/// Each query gives a row for each place where something is not as it must be.
const CONTRADICTIONS: [(&str, &str); 6] = [
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
        "counts by status and bucket are not count(*)",
        "with counted as (
            select org_id, status, level, bucket, pins from pin_counts
            union all
            select org_id, status, level, bucket >> (level - 13), pins
            from count_changes cross join (values (33), (23), (13)) levels (level) where status is not null
            union all
            select org_id, status, level, (extract(epoch from created) * 1000)::bigint >> level, -1
            from pins cross join (values (33), (23), (13)) levels (level)
         )
         select format('%s %s: %s too many in bucket %s of %s', org_id, status, sum(pins), bucket, level)
         from counted group by org_id, status, level, bucket having sum(pins) <> 0",
    ),
    (
        "an org's usage is not the bytes of the contents that it holds",
        "with used as (
            select org_id, bytes from org_usage
            union all
            select org_id, bytes from count_changes
            union all
            select org_id, -bytes
            from (select distinct org_id, content from pins where refused is null) held join contents on key = content
         )
         select format('%s: %s too many', org_id, sum(bytes)) from used group by org_id having sum(bytes) <> 0",
    ),
    (
        "a content that nobody holds and no node has is still there",
        "select encode(key, 'hex') from contents
         where refs = 0 and not exists (select from placements where content = key)",
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
/// left. A pin that was accepted before its pinner knew of the other nodes gets its further copies from the leader.
pub(crate) async fn wait_for_rest(admin: &PgPool, within: Duration) {
    let open = "select (select count(*) from placements where status <> 'pinned')
        + (select count(*) from contents where astray or refs = 0)
        + (select count(*) from changed_partitions)
        + (select count(*) from pins where status <> 'pinned')";
    until("every placement is there and pinned, and so is every pin", within, async || {
        let open: i64 = sqlx::query_scalar(open).fetch_one(admin).await.expect("a well-formed query");
        (open == 0).then_some(())
    })
    .await;
    check(admin).await;
}

/// Every content that is held, in hexadecimal.
pub(crate) async fn contents(admin: &PgPool) -> BTreeSet<String> {
    let held: Vec<String> = sqlx::query_scalar("select encode(key, 'hex') from contents")
        .fetch_all(admin)
        .await
        .expect("a well-formed query");
    held.into_iter().collect()
}

/// Waits until no connection to the database is left inside a transaction that nobody works on.
pub(crate) async fn wait_for_no_open_transaction(admin: &PgPool) {
    until("no connection is left inside a transaction", SOON, async || {
        let open: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'",
        )
        .fetch_one(admin)
        .await
        .expect("the database answers");
        (open == 0).then_some(())
    })
    .await;
}
