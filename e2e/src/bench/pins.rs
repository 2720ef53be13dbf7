//! Millions of pins, written to the database directly: what a service holds after years, in minutes.

use anyhow::{Context as _, Result};
use sqlx::{AssertSqlSafe, PgConnection};

use super::{figures::as_float, service::Org, table::thousands};
use crate::story::note;

/// Rows that one statement writes.
const PART: u64 = 250_000;
/// Orgs that share what the asked one does not have.
const OTHERS: u64 = 1_000;
/// Milliseconds between two pins, whosever they are.
pub(super) const STEP: u64 = 10;
/// Pins of the asked org that have a name in common.
const NAMESAKES: u64 = 3;

/// Which pins a database holds.
#[derive(Debug, Clone)]
pub(super) struct Holdings {
    /// All pins of all orgs.
    pub(super) pins: u64,
    /// Every so many-th is one of the org that the bench asks for.
    pub(super) every: u64,
    /// Contents that they hold.
    pub(super) contents: u64,
    /// When the first one was created, as SQL.
    pub(super) base: String,
}

impl Holdings {
    /// Names of the asked org.
    pub(super) fn names(&self) -> u64 {
        self.pins / self.every / NAMESAKES
    }

    fn expand(&self, text: &str, asked: &Org) -> String {
        let numbers = [
            (":pins", self.pins),
            (":every", self.every),
            (":contents", self.contents),
            (":others", OTHERS),
            (":step", STEP),
            (":named", self.every * NAMESAKES),
        ];
        let text =
            numbers.into_iter().fold(text.to_owned(), |text, (name, value)| text.replace(name, &value.to_string()));
        text.replace(":base", &self.base).replace(":asked", &asked.id)
    }
}

/// Contents, each once: nine in ten are pinned on the service's node. What waits or failed does so on a node that is long
/// gone, so that the service's worker has nothing to do.
const CONTENTS: &str = "
    insert into contents (key, refs, bytes)
    select '\\x01551220'::bytea || sha256(int8send(c)), (:pins - 1 - c) / :contents + 1, 32
    from generate_series(:from::bigint, :to - 1) c;
    insert into placements (content, node_id, status, blocks, bytes)
    select
        '\\x01551220'::bytea || sha256(int8send(c)),
        case when c % 100 < 90 then here.id else gone.id end,
        case when c % 100 < 90 then 'pinned' when c % 100 < 94 then 'queued' when c % 100 < 97 then 'pinning' else 'failed'
        end::placement_status,
        1,
        32
    from generate_series(:from::bigint, :to - 1) c, nodes here, nodes gone
    where here.name <> 'gone' and gone.name = 'gone'
";

/// Pins in the order of their times: ids that grow with it, texts as long as real ones.
const PINS: &str = "
    insert into pins
        (org_id, id, status, created, cid, content, name, name_folded, meta, copies_min, copies_max)
    select
        case when i % :every = 0 then ':asked'::uuid
        else ('00000000-0000-4000-8000-' || lpad(to_hex(i * 7919 % :others), 12, '0'))::uuid end,
        (lpad(to_hex(i), 12, '0') || '7' || right(md5(i::text), 19))::uuid,
        case when c % 100 < 90 then 'pinned' when c % 100 < 94 then 'queued' when c % 100 < 97 then 'pinning' else 'failed'
        end::pin_status,
        :base + i * interval ':step ms',
        'bafkrei' || left(encode(h, 'hex'), 52),
        '\\x01551220'::bytea || h,
        'name-' || i / :named,
        'name-' || i / :named,
        case when i % 3 = 0 then '{\"app\": \"bench\"}'::jsonb end,
        1,
        1
    from generate_series(:from::bigint, :to - 1) i
    cross join lateral (select i % :contents as c) content
    cross join lateral (select sha256(int8send(c)) as h) hash
";

const ORGS: &str = "
    insert into orgs (id, name)
    select ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'small-' || n
    from generate_series(0, :others - 1) n;
    insert into nodes (id, name, seen) values (gen_random_uuid(), 'gone', 'epoch')
";

/// What the triggers would have written, folded as the worker would have.
const COUNTS: &str = "
    insert into count_changes (org_id, status, bucket, pins)
    select org_id, status, (extract(epoch from created) * 1000)::bigint >> 13, count(*) from pins group by 1, 2, 3;
    insert into count_changes (org_id, bytes) select org_id, 32 * count(distinct content) from pins group by 1
";

/// Fills an empty database.
///
/// # Errors
/// When Postgres refuses.
pub(super) async fn fill(
    session: &mut PgConnection,
    asked: &Org,
    pins: u64,
    every: u64,
    contents: u64,
) -> Result<Holdings> {
    let span = pins * STEP;
    let base: String = sqlx::query_scalar(AssertSqlSafe(format!(
        "select format('to_timestamp(%s)', extract(epoch from now())::bigint - 3600 - {span} / 1000)"
    )))
    .fetch_one(&mut *session)
    .await?;
    let holdings = Holdings { pins, every, contents, base };
    // Whatever is lost by a crash now goes with the bench; and the rows bring along what triggers would write.
    run(session, "set synchronous_commit = off; set session_replication_role = replica; set work_mem = '256MB'")
        .await?;
    run(session, "set maintenance_work_mem = '1GB'").await?;
    let indexes = drop_indexes(session).await?;
    run(session, &holdings.expand(ORGS, asked)).await?;
    in_parts(session, &holdings.expand(CONTENTS, asked), contents, "contents").await?;
    in_parts(session, &holdings.expand(PINS, asked), pins, "pins").await?;
    for index in indexes {
        run(session, &index).await?;
    }
    run(session, COUNTS).await?;
    while sqlx::query_scalar::<_, bool>("select exists (select from count_changes)").fetch_one(&mut *session).await? {
        run(session, "select fold_counts(1000000)").await?;
    }
    for table in ["orgs", "pins", "contents", "placements", "pin_counts", "count_changes", "nodes"] {
        run(session, &format!("vacuum analyze {table}")).await?;
    }
    run(session, "checkpoint; reset all").await?;
    Ok(holdings)
}

/// Drops the indexes that no constraint needs and gives the statements that make them again: at the end, in one go, that
/// takes a fraction of the time.
async fn drop_indexes(session: &mut PgConnection) -> Result<Vec<String>> {
    let found: Vec<(String, String)> = sqlx::query_as(
        "select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index
         where indrelid in ('pins'::regclass, 'contents'::regclass, 'placements'::regclass)
             and not exists (select from pg_constraint where conindid = indexrelid)",
    )
    .fetch_all(&mut *session)
    .await?;
    for (name, _) in &found {
        run(session, &format!("drop index {name}")).await?;
    }
    Ok(found.into_iter().map(|(_, definition)| definition).collect())
}

async fn in_parts(session: &mut PgConnection, text: &str, count: u64, what: &str) -> Result<()> {
    let mut from = 0;
    while from < count {
        let to = (from + PART).min(count);
        run(session, &text.replace(":from", &from.to_string()).replace(":to", &to.to_string())).await?;
        from = to;
        if from % (PART * 4) == 0 {
            note(&format!("{} of {} {what}", thousands(float(from)), thousands(float(count))));
        }
    }
    Ok(())
}

/// A number of rows to show.
pub(super) fn float(count: u64) -> f64 {
    usize::try_from(count).map_or(f64::MAX, as_float)
}

async fn run(session: &mut PgConnection, text: &str) -> Result<()> {
    // One by one: some statements refuse to share a transaction.
    for statement in text.split(';').filter(|statement| !statement.trim().is_empty()) {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut *session)
            .await
            .with_context(|| format!("while Postgres ran: {}", statement.trim()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_filled_in_completely() {
        let holdings = Holdings { pins: 10_000, every: 2, contents: 10_000, base: "now()".to_owned() };
        let asked = Org { id: "the-org".to_owned(), token: String::new() };
        for text in [CONTENTS, PINS, ORGS] {
            let text = holdings.expand(text, &asked).replace("::", "").replace(":from", "0").replace(":to", "1");
            assert!(!text.replace("\"app\": ", "").contains(':'), "{text}");
        }
        assert!(holdings.expand(PINS, &asked).contains("'the-org'::uuid"));
        assert_eq!(holdings.names(), 1666);
    }
}
