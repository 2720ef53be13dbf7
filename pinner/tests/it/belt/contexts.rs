//! Contexts that name no org: every table that belongs to orgs is empty then.

use super::{
    Violation,
    outcome::run,
    seed::{Seeded, enter},
    tables::Table,
};
use sqlx::PgConnection;

/// How a transaction comes to what context it has.
const WAYS: [(&str, &[&str]); 6] = [
    ("unset", &[]),
    ("set outside of a transaction", &["select set_config('anchorage.org', 'ORG', true)"]),
    ("after a commit", &["begin", "select set_config('anchorage.org', 'ORG', true)", "commit"]),
    ("after a rollback", &["begin", "select set_config('anchorage.org', 'ORG', true)", "rollback"]),
    (
        "after a rollback to a savepoint",
        &["begin", "savepoint s", "select set_config('anchorage.org', 'ORG', true)", "rollback to s"],
    ),
    ("after an error", &["begin", "select set_config('anchorage.org', 'ORG', true)", "select 1 / 0", "rollback"]),
];

/// Rows of these tables that a context without an org shows.
pub(super) async fn check(seeded: &Seeded, tables: &[Table]) -> Vec<Violation> {
    let tables: Vec<_> = tables.iter().filter(|table| table.protected && table.grants(&["SELECT"])).collect();
    let org = seeded.a.to_string();
    let mut violations = Vec::new();
    for (way, steps) in WAYS {
        let mut tenant = seeded.tenant("").await;
        run(&mut tenant, "rollback; discard all").await;
        for step in steps {
            run(&mut tenant, &step.replace("ORG", &org)).await;
        }
        violations.extend(empty(&mut tenant, &tables, way).await);
    }
    let garbage = [
        "".to_owned(),
        " ".into(),
        "garbage".into(),
        "null".into(),
        "%".into(),
        "' or true --".into(),
        org.to_uppercase(),
        org[..35].into(),
        format!("{org} "),
        format!("{org}\n"),
        format!("{{{org}}}"),
        org.replace('-', ""),
        uuid::Uuid::nil().to_string(),
    ];
    let mut tenant = seeded.tenant("").await;
    for context in garbage {
        if context == org {
            continue;
        }
        enter(&mut tenant, &context).await;
        violations.extend(empty(&mut tenant, &tables, &format!("{context:?}")).await);
    }
    violations
}

async fn empty(tenant: &mut PgConnection, tables: &[&Table], context: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for table in tables {
        let outcome = run(tenant, &format!("select * from {}", table.name)).await;
        if !outcome.rows.is_empty() || outcome.refusal.is_some() {
            let what = format!("{} with a context that is {context}: {outcome:?}", table.name);
            violations.push(Violation::new("without an org there are rows", what));
        }
    }
    violations
}
