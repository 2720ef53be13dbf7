//! The belt's own proof: the schema weakened in every way that the catalogue offers, one at a time, and the belt must
//! object to each.
//!
//! The catalogue's rules are asked inside a transaction that is rolled back. Where the API could then do what it must
//! not, its statements and calls are tried besides, on a copy of the database, and have to show it too.

use super::{Violation, catalogue, contexts, definers, seed::Seeded, statements, tables};
use futures::{StreamExt, stream};
use sqlx::{Connection, Executor, PgConnection};

/// Something that was weakened.
#[derive(Debug, Clone)]
struct Mutant {
    /// What was done.
    sql: String,
    /// Where statements or calls of the API must show it, beside the catalogue.
    shows: Option<Shows>,
}

/// Where a mutant shows.
#[derive(Debug, Clone)]
enum Shows {
    /// In statements on a table.
    Statements(String),
    /// In calls of a function.
    Calls(String),
}

impl Mutant {
    fn quiet(sql: String) -> Self {
        Self { sql, shows: None }
    }
}

const SERVICE_ROLES: [&str; 3] = ["anchorage_api", "anchorage_worker", "anchorage_metrics"];

/// Every policy dropped, opened in each direction and to everybody; every table's protection taken away.
async fn policies(superuser: &mut PgConnection) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    let tables = tables::all(&mut *superuser).await;
    for table in tables.iter().filter(|table| table.protected) {
        let name = &table.name;
        let shows = |privileges: &[&str]| table.grants(privileges).then(|| Shows::Statements(name.clone()));
        let reach = ["SELECT", "UPDATE", "DELETE"];
        mutants.push(Mutant::quiet(format!("alter table {name} no force row level security")));
        mutants.push(Mutant { sql: format!("alter table {name} disable row level security"), shows: shows(&reach) });
        let policies: Vec<(String, bool, bool, bool, bool)> = sqlx::query_as(
            "select policyname::text, coalesce(qual = 'true', false), coalesce(with_check <> 'true', false),
                cmd in ('ALL', 'SELECT'), 'anchorage_api' = any (roles)
             from pg_policies where tablename = $1",
        )
        .bind(name)
        .fetch_all(&mut *superuser)
        .await
        .unwrap();
        for (policy, open, checked, reads, of_api) in policies {
            let shows_to_api = |privileges: &[&str]| if of_api { shows(privileges) } else { None };
            let alter = |change: &str| format!("alter policy {policy} on {name} {change}");
            let dropped = if reads { shows_to_api(&["SELECT"]) } else { None };
            mutants.push(Mutant { sql: format!("drop policy {policy} on {name}"), shows: dropped });
            if reads && !open {
                mutants.push(Mutant { sql: alter("using (true)"), shows: shows_to_api(&reach) });
            }
            if checked {
                mutants.push(Mutant { sql: alter("with check (true)"), shows: shows_to_api(&["INSERT", "UPDATE"]) });
            }
            mutants.push(Mutant { sql: alter("to public"), shows: if open { shows(&reach) } else { None } });
        }
    }
    mutants
}

/// The text of each function with the owner's rights without its comparisons with the caller's org.
async fn guards(superuser: &mut PgConnection) -> Vec<Mutant> {
    let callable: Vec<String> =
        definers::all(&mut *superuser).await.into_iter().map(|function| function.name).collect();
    let sources: Vec<(String, String)> = sqlx::query_as(
        "select proname::text, pg_get_functiondef(oid) from pg_proc
         where pronamespace = 'public'::regnamespace and prosecdef and prosrc ~ 'current_orgs?\\(\\)' order by 1",
    )
    .fetch_all(superuser)
    .await
    .unwrap();
    sources
        .into_iter()
        .filter(|(name, _)| callable.contains(name))
        .filter_map(|(name, source)| Some(Mutant { sql: unguarded(&source)?, shows: Some(Shows::Calls(name)) }))
        .collect()
}

/// How the orgs of the transaction stand on the right of a comparison.
const CALLER: [&str; 4] =
    ["public.current_org()", "(select public.current_org())", "any (public.current_orgs())", "any (orgs)"];

/// The source with every comparison with the caller's org replaced by what lets everybody through. None if it has none:
/// such a function has no way to name another org.
fn unguarded(source: &str) -> Option<String> {
    let mut open = source.to_owned();
    for caller in CALLER {
        for (operator, verdict) in [(" is distinct from ", "false"), (" <> ", "false"), (" = ", "true")] {
            let comparison = format!("{operator}{caller}");
            while let Some(at) = open.find(&comparison) {
                let column = |sign: char| sign.is_alphanumeric() || matches!(sign, '_' | '.');
                let left = open[..at].trim_end_matches(column).len();
                open.replace_range(left..at + comparison.len(), verdict);
            }
        }
    }
    (open != source).then_some(open)
}

/// Everything that a service role has not been granted, granted; functions opened, search paths unpinned.
async fn grants(superuser: &mut PgConnection) -> Vec<Mutant> {
    let mut statements: Vec<String> = sqlx::query_scalar(
        "select format('grant %s on %s to %s', p, c.relname, r)
         from pg_class c, unnest('{select,insert,update,delete,truncate,references,trigger}'::text[]) p, unnest($1) r
         where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not has_table_privilege(r, c.oid, p)
         order by 1",
    )
    .bind(SERVICE_ROLES)
    .fetch_all(&mut *superuser)
    .await
    .unwrap();
    let functions: Vec<String> = sqlx::query_scalar(
        "select format(s, oid::regprocedure) from pg_proc, unnest(array[
            'grant execute on function %s to public', 'alter function %s reset search_path',
            'alter function %s set search_path = public, pg_catalog'
         ]) s where pronamespace = 'public'::regnamespace and prosecdef
         union all
         select format('grant execute on function %s to %s', oid::regprocedure, r) from pg_proc, unnest($1) r
         where pronamespace = 'public'::regnamespace and prosecdef and not has_function_privilege(r, oid, 'execute')",
    )
    .bind(SERVICE_ROLES)
    .fetch_all(superuser)
    .await
    .unwrap();
    statements.extend(functions);
    for role in SERVICE_ROLES {
        for power in ["superuser", "bypassrls", "createrole", "createdb", "replication"] {
            statements.push(format!("alter role {role} {power}"));
        }
        statements.push(format!("grant anchorage_owner to {role}"));
        statements.push(format!("grant create on schema public to {role}"));
    }
    statements.into_iter().map(Mutant::quiet).collect()
}

/// What somebody might add without a thought for the other orgs.
fn additions() -> Vec<Mutant> {
    let protected = "alter table extra enable row level security; alter table extra force row level security;
        create policy owner on extra to anchorage_owner using (true) with check (true)";
    [
        "create table extra (org_id uuid)".to_owned(),
        "create view extra as select * from pins".into(),
        "create materialized view extra as select * from pins".into(),
        "create schema extra".into(),
        "create unique index extra on pins (cid, id)".into(),
        "create unique index extra on pins (md5(id::text))".into(),
        format!("create table extra (org_id uuid, pin uuid references pins (id)); {protected}"),
        format!("create table extra (org_id uuid, name text unique); {protected}"),
        "create function extra() returns setof pins language sql security definer as 'table public.pins'".into(),
        "create policy extra on pins for select to anchorage_api using (true)".into(),
        "alter default privileges for role anchorage_owner grant select on tables to anchorage_api".into(),
        "grant select (key) on contents to anchorage_api".into(),
    ]
    .into_iter()
    .map(Mutant::quiet)
    .collect()
}

/// What the catalogue's rules say of a mutant.
async fn by_catalogue(superuser: &mut PgConnection, mutant: &Mutant) -> Vec<Violation> {
    // As the owner, so that nothing is found for belonging to somebody else; roles are for the superuser.
    superuser.execute("begin").await.unwrap();
    let for_superuser = ["alter role", "alter default", "grant anchorage_owner", "create schema"];
    let role = match for_superuser.iter().any(|start| mutant.sql.starts_with(start)) {
        true => "postgres",
        false => "anchorage_owner",
    };
    let mutate = format!("set local role {role}; {}; reset role", mutant.sql);
    sqlx::raw_sql(sqlx::AssertSqlSafe(mutate)).execute(&mut *superuser).await.unwrap_or_else(|error| {
        panic!("{}: {error}", mutant.sql);
    });
    let violations = catalogue::check(superuser).await;
    superuser.execute("rollback").await.unwrap();
    violations
}

/// What statements, contexts and calls say of a mutant, looked for where it must show.
async fn by_doing(mutant: &Mutant, shows: &Shows) -> Vec<Violation> {
    let seeded = Seeded::new().await;
    let mut superuser = seeded.superuser().await;
    let all = tables::all(&mut superuser).await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(mutant.sql.as_str())).execute(&mut superuser).await.unwrap();
    let violations = match shows {
        Shows::Statements(table) => {
            let table: Vec<_> = all.iter().filter(|one| one.name == *table).cloned().collect();
            let mut violations = statements::check(&seeded, &table, &all).await;
            violations.extend(contexts::check(&seeded, &table).await);
            violations
        }
        Shows::Calls(function) => {
            let mut functions = definers::all(&mut superuser).await;
            functions.retain(|one| one.name == *function);
            definers::check(&seeded, &functions, &all).await
        }
    };
    superuser.close().await.unwrap();
    seeded.database.drop().await;
    violations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_policy_guard_and_grant_that_is_weakened_turns_the_belt_red() {
    let seeded = Seeded::new().await;
    let mut superuser = seeded.superuser().await;
    let loud = [policies(&mut superuser).await, guards(&mut superuser).await].concat();
    let quiet = [grants(&mut superuser).await, additions()].concat();
    let doing: Vec<_> = stream::iter(&loud)
        .map(async |mutant| match &mutant.shows {
            Some(shows) => Some(by_doing(mutant, shows).await),
            None => None,
        })
        .buffered(3)
        .collect()
        .await;
    let mut survivors = Vec::new();
    let first = |violations: &[Violation]| violations.first().map(|v| format!("{}: {:.60}", v.wrong, v.what));
    let (mut by_rules, mut by_deeds, mut expected) = (0, 0, 0);
    for (n, mutant) in loud.iter().chain(&quiet).enumerate() {
        let done = doing.get(n).and_then(Option::as_ref);
        // The text of a function is not in the catalogue's rules; what it does is.
        let ruled = match mutant.shows {
            Some(Shows::Calls(_)) => Vec::new(),
            _ => by_catalogue(&mut superuser, mutant).await,
        };
        by_rules += usize::from(!ruled.is_empty());
        expected += usize::from(done.is_some());
        by_deeds += usize::from(done.is_some_and(|done| !done.is_empty()));
        let verdict = done.and_then(|done| first(done)).or_else(|| first(&ruled));
        println!("{:<100.100} → {}", named(&mutant.sql), verdict.as_deref().unwrap_or("SURVIVES"));
        let unseen = done.is_some_and(Vec::is_empty);
        if verdict.is_none() || unseen {
            survivors.push(format!(
                "{}{}",
                named(&mutant.sql),
                if unseen { " (seen by no statement or call)" } else { "" }
            ));
        }
    }
    let all = loud.len() + quiet.len();
    println!(
        "{all} mutants, {} survive; the rules see {by_rules}, deeds {by_deeds} of {expected} they should",
        survivors.len()
    );
    assert!(survivors.is_empty(), "{}", survivors.join("\n"));
    assert!(catalogue::check(&mut superuser).await.is_empty(), "something was not rolled back");
}

/// A mutant in one line.
fn named(sql: &str) -> String {
    let line = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.strip_prefix("CREATE OR REPLACE FUNCTION public.") {
        Some(function) => format!("the guards taken out of {}", function.split('(').next().unwrap_or_default()),
        None => line,
    }
}
