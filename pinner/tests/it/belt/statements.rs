//! Nine kinds of statement on every table, by A about rows of B: they do nothing, show nothing, and come to the same as
//! for rows that do not exist.

use super::{
    Violation,
    outcome::{Outcome, run},
    seed::{Seeded, enter},
    tables::{Foreign, Table},
};
use sqlx::PgConnection;

/// A row: the condition that finds it, the same row as JSON, that row under a new key, and the values that tell it
/// from others.
struct Subject {
    condition: String,
    row: String,
    renewed: String,
    values: Vec<String>,
}

/// Every kind with its statements about a row of this table.
fn statements(table: &Table, subject: &Subject) -> Vec<(&'static str, String)> {
    let (name, payload, condition) = (&table.name, table.payload(), &subject.condition);
    let columns = table.columns.join(", ");
    let insert = |row: &str| {
        format!(
            "insert into {name} ({columns}) overriding system value
             select {columns} from jsonb_populate_record(null::{name}, '{}')",
            row.replace('\'', "''")
        )
    };
    let key = table.key.join(", ");
    let row = &subject.row;
    let mut statements = vec![
        ("select", format!("select * from {name} where {condition}")),
        ("insert", insert(&subject.renewed)),
        ("update", format!("update {name} set {payload} = {payload} where {condition}")),
        ("delete", format!("delete from {name} where {condition}")),
        ("upsert", format!("{} on conflict do nothing", insert(row))),
        ("upsert", format!("{} on conflict ({key}) do update set {payload} = excluded.{payload}", insert(row))),
        ("copy", format!("copy (select * from {name} where {condition}) to stdout")),
        ("returning", format!("delete from {name} where {condition} returning *")),
        ("returning", format!("update {name} set {payload} = {payload} where {condition} returning *")),
        ("join", format!("select theirs.* from {name} mine, lateral (select * from {name} where {condition}) theirs")),
        ("subquery", format!("select exists (select from {name} where {condition})")),
        ("subquery", format!("select (select count(*) from {name} where {condition})")),
        ("select", format!("select * from {name} where {condition} for update")),
    ];
    if let Some(org) = &table.org_column {
        statements.push((
            "update",
            format!("update {name} set {org} = ({row:?}::jsonb ->> '{org}')::uuid").replace('"', "'"),
        ));
    }
    statements
}

/// What A may never get to see: ids of B and of what is B's.
async fn secrets(superuser: &mut PgConnection, seeded: &Seeded) -> Vec<String> {
    let pins: Vec<String> = sqlx::query_scalar("select id::text from pins where org_id = $1")
        .bind(seeded.b)
        .fetch_all(superuser)
        .await
        .unwrap();
    assert!(pins.len() > 1, "or this proves nothing");
    [vec![seeded.b.to_string()], pins].concat()
}

/// One row of B, and one like it that does not exist.
async fn subjects(superuser: &mut PgConnection, seeded: &Seeded, table: &Table) -> [Subject; 2] {
    let theirs = match &table.org_column {
        Some(column) => format!("{column} = '{}'", seeded.b),
        None => "true".into(),
    };
    // Ids that nobody has: in the place of each id of the row, and in that of each text that is a key.
    let key: Vec<_> = table.key.iter().map(|column| format!("'{column}'")).collect();
    let query = format!(
        "with one as (select to_jsonb(t) as row from {0} t where {theirs} limit 1), columns as (
            select attname::text as name, atttypid::regtype::text as type,
                attname in ({1}) as in_key, attname = '{2}' as is_org
            from pg_attribute where attrelid = '{0}'::regclass and attnum > 0 and attgenerated = ''
        ), values as (
            select name, in_key, is_org, row -> name as theirs, case
                when type = 'uuid' then to_jsonb(gen_random_uuid())
                when type = 'bytea' and in_key then to_jsonb('\\x0155' || encode(sha256(gen_random_uuid()::text::bytea), 'hex'))
                when in_key and type in ('text', 'character varying') then to_jsonb('absent'::text)
                when in_key and type in ('bigint') then to_jsonb(-1)
                else row -> name
            end as absent
            from one, columns
        )
        select
            string_agg(format('%I is not distinct from %L', name, theirs #>> '{{}}'), ' and ' order by name) filter (where in_key),
            jsonb_object_agg(name, theirs)::text,
            jsonb_object_agg(name, case when is_org then theirs else absent end)::text,
            array_agg(theirs #>> '{{}}') filter (where theirs <> absent and theirs <> 'null'),
            string_agg(format('%I is not distinct from %L', name, absent #>> '{{}}'), ' and ' order by name) filter (where in_key),
            jsonb_object_agg(name, absent)::text,
            jsonb_object_agg(name, absent)::text,
            array_agg(absent #>> '{{}}') filter (where theirs <> absent and theirs <> 'null')
        from values",
        table.name,
        key.join(", "),
        table.org_column.as_deref().unwrap_or_default()
    );
    type Texts = (String, String, String, Option<Vec<String>>);
    type Both = (String, String, String, Option<Vec<String>>, String, String, String, Option<Vec<String>>);
    let (a, b, c, d, e, f, g, h): Both =
        sqlx::query_as(sqlx::AssertSqlSafe(query)).fetch_one(superuser).await.unwrap_or_else(|error| {
            panic!("no row of B in {}: {error}", table.name);
        });
    let subject = |(condition, row, renewed, values): Texts| Subject {
        condition,
        row,
        renewed,
        values: values.unwrap_or_default(),
    };
    [subject((a, b, c, d)), subject((e, f, g, h))]
}

/// Runs a statement as A, in a transaction of its own, and ends that.
async fn as_a(connection: &mut PgConnection, seeded: &Seeded, statement: &str, end: &str) -> Outcome {
    if statement.starts_with("copy") {
        // The library loses count of the messages when it copies on a connection that has seen an error.
        return run(&mut seeded.tenant(&seeded.a.to_string()).await, statement).await;
    }
    run(connection, "begin").await;
    enter(connection, &seeded.a.to_string()).await;
    let outcome = run(connection, statement).await;
    run(connection, end).await;
    outcome
}

/// Tries every kind of statement on these tables; `all` are those that must stay as they are.
pub(super) async fn check(seeded: &Seeded, tables: &[Table], all: &[Table]) -> Vec<Violation> {
    let (mut superuser, mut tenant) = (seeded.superuser().await, seeded.tenant("").await);
    run(&mut tenant, "rollback").await;
    let secrets = secrets(&mut superuser, seeded).await;
    let foreign = Foreign::new(seeded, all);
    let before = foreign.look(&mut superuser).await;
    let mut violations = Vec::new();
    for table in tables {
        let mut violated = |what: String, statement: &str| {
            violations.push(Violation::new("a statement reaches another org's rows", format!("{what}: {statement}")));
        };
        let [theirs, absent] = subjects(&mut superuser, seeded, table).await;
        let pairs = statements(table, &theirs).into_iter().zip(statements(table, &absent));
        for ((kind, statement), (_, control)) in pairs {
            let reads = matches!(kind, "select" | "copy" | "join" | "subquery") && !statement.ends_with("update");
            if !table.protected && reads {
                continue;
            }
            let expected = as_a(&mut tenant, seeded, &control, "commit").await.without(&absent.values);
            let outcome = as_a(&mut tenant, seeded, &statement, "commit").await;
            if let Some(secret) = outcome.shows(&secrets)
                && outcome.refusal.is_none()
            {
                violated(format!("{kind} shows {secret}"), &statement);
            }
            let outcome = outcome.without(&theirs.values);
            if outcome != expected {
                violated(
                    format!("{kind} comes to {outcome:?}, and to {expected:?} for a row that is not there"),
                    &statement,
                );
            }
            let after = foreign.look(&mut superuser).await;
            if after != before {
                let changed: Vec<_> = before.iter().zip(&after).filter(|(old, new)| old != new).collect();
                violated(format!("{kind} changes {:?}", changed.first()), &statement);
                return violations;
            }
        }
        violations.extend(whole(&mut tenant, seeded, table, &secrets).await);
    }
    violations
}

/// Statements without any condition: they are about A's own rows, and these are there.
async fn whole(tenant: &mut PgConnection, seeded: &Seeded, table: &Table, secrets: &[String]) -> Vec<Violation> {
    let mut violations = Vec::new();
    if !table.protected {
        return violations;
    }
    let name = &table.name;
    for statement in [
        format!("select * from {name}"),
        format!("copy {name} to stdout"),
        format!("delete from {name} returning *"),
        format!("update {name} set {0} = {0} returning *", table.payload()),
    ] {
        let outcome = as_a(tenant, seeded, &statement, "rollback").await;
        if let Some(secret) = outcome.shows(secrets) {
            violations.push(Violation::new("a whole table shows another org's", format!("{secret}: {statement}")));
        }
        let readable = table.org_column.is_some() && table.grants(&["SELECT"]);
        if statement.starts_with("select") && readable && outcome.rows.is_empty() {
            violations.push(Violation::new("an org sees nothing of its own", statement));
        }
    }
    violations
}
