//! The tables that the catalogue has, and what a statement needs to know of each.

use super::seed::Seeded;
use sqlx::{Connection, PgConnection};

/// A table.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) name: String,
    /// The column that says whose a row is; none in tables that are shared or closed.
    pub(super) org_column: Option<String>,
    /// Columns that an insert may name.
    pub(super) columns: Vec<String>,
    /// Columns of the primary key, or of any unique one, or all.
    pub(super) key: Vec<String>,
    /// Whether it is protected: else every org may read it.
    pub(super) protected: bool,
    /// What the API may do: `SELECT`, `INSERT`, …
    pub(super) privileges: Vec<String>,
}

impl Table {
    /// A column to change that says not which row it is.
    pub(super) fn payload(&self) -> &str {
        self.columns.iter().find(|column| !self.key.contains(column)).unwrap_or(&self.columns[0])
    }

    /// Whether the API holds any of these privileges.
    pub(super) fn grants(&self, privileges: &[&str]) -> bool {
        self.privileges.iter().any(|held| privileges.contains(&held.as_str()))
    }
}

/// Every table, by name.
pub(super) async fn all(superuser: &mut PgConnection) -> Vec<Table> {
    type Names = Vec<String>;
    let rows: Vec<(String, bool, Names, Names, Names)> = sqlx::query_as(
        "select c.relname::text, c.relrowsecurity,
            array(
                select attname::text from pg_attribute
                where attrelid = c.oid and attnum > 0 and not attisdropped and attgenerated = '' order by attnum
            ),
            array(
                select attname::text from pg_attribute
                where attrelid = c.oid and attnum = any ((
                    select indkey::int2[] from pg_index
                    where indrelid = c.oid and indisunique and indpred is null and indexprs is null
                    order by indisprimary desc limit 1
                )::int2[]) order by attnum
            ),
            array(
                select p::text from unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) p
                where has_table_privilege('anchorage_api', c.oid, p)
            )
         from pg_class c
         where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') order by 1",
    )
    .fetch_all(superuser)
    .await
    .unwrap();
    rows.into_iter()
        .map(|(name, protected, columns, key, privileges)| {
            let org_column = match name.as_str() {
                "orgs" => Some("id".to_owned()),
                _ => columns.iter().find(|column| *column == "org_id").cloned(),
            };
            let key = if key.is_empty() { columns.clone() } else { key };
            Table { name, org_column, columns, key, protected, privileges }
        })
        .collect()
}

/// Everything that is not A's, one text for each table: what nothing that A does may change.
pub(super) struct Foreign {
    query: String,
}

impl Foreign {
    pub(super) fn new(seeded: &Seeded, tables: &[Table]) -> Self {
        let digests: Vec<_> = tables
            .iter()
            .map(|table| {
                let theirs = match &table.org_column {
                    Some(column) => format!("{column} is distinct from '{}'", seeded.a),
                    None => "true".into(),
                };
                format!(
                    "select '{0}', coalesce(string_agg(t::text, ';' order by t::text), '') from {0} t where {theirs}",
                    table.name
                )
            })
            .collect();
        Self { query: digests.join(" union all ") }
    }

    /// What is there now: table and text.
    pub(super) async fn look(&self, superuser: &mut PgConnection) -> Vec<(String, String)> {
        sqlx::query_as(sqlx::AssertSqlSafe(self.query.as_str())).fetch_all(superuser).await.unwrap()
    }
}

/// Tables with rows of B on which somebody holds a lock.
pub(super) async fn locked(seeded: &Seeded, tables: &[Table]) -> Vec<String> {
    let mut superuser = seeded.superuser().await;
    let mut locked = Vec::new();
    for table in tables {
        let Some(column) = &table.org_column else { continue };
        let query = format!(
            "select (select count(*) from {0} where {column} = '{1}')
                <> (select count(*) from (select from {0} where {column} = '{1}' for update skip locked) free)",
            table.name, seeded.b
        );
        if sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(&mut superuser).await.unwrap() {
            locked.push(table.name.clone());
        }
    }
    superuser.close().await.unwrap();
    locked
}
