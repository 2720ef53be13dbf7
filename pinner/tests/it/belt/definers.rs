//! Functions with the owner's rights, called by A with what is B's: they tell nothing, change nothing and lock nothing.

use super::{
    Violation, lists,
    outcome::{Outcome, run},
    seed::{Seeded, enter},
    tables::{self, Foreign, Table},
};
use sqlx::PgConnection;
use uuid::Uuid;

/// A function that the API may call.
#[derive(Debug, Clone)]
pub(super) struct Function {
    pub(super) name: String,
    types: Vec<String>,
}

/// Functions with the owner's rights that the API may call and that are not meant to reach across orgs.
pub(super) async fn all(superuser: &mut PgConnection) -> Vec<Function> {
    let rows: Vec<(String, Vec<String>)> = sqlx::query_as(
        "select proname::text, array(
            select format_type(t, null) from unnest(proargtypes::oid[]) with ordinality as a (t, n) order by n
         )
         from pg_proc where pronamespace = 'public'::regnamespace and prosecdef
            and has_function_privilege('anchorage_api', oid, 'execute') order by 1",
    )
    .fetch_all(superuser)
    .await
    .unwrap();
    for (known, _) in lists::REACHES_ACROSS {
        assert!(rows.iter().any(|(name, _)| name == known), "{known} is on the belt's lists and not there");
    }
    rows.into_iter()
        .filter(|(name, _)| !lists::REACHES_ACROSS.iter().any(|(known, _)| known == name))
        .map(|(name, types)| Function { name, types })
        .collect()
}

/// Values of B that A shares in no way: ids of rows, and keys of contents.
struct Theirs {
    ids: Vec<String>,
    contents: Vec<String>,
}

async fn theirs(superuser: &mut PgConnection, seeded: &Seeded) -> Theirs {
    let ids = "select id::text from pins where org_id = $1 union all select id::text from tokens where org_id = $1
        union all select $1::text";
    let contents = "select key::text from contents where key not in (select content from pins where org_id = $1)";
    let ids: Vec<String> = sqlx::query_scalar(ids).bind(seeded.b).fetch_all(&mut *superuser).await.unwrap();
    let contents: Vec<String> = sqlx::query_scalar(contents).bind(seeded.a).fetch_all(superuser).await.unwrap();
    assert!(ids.len() > 2 && contents.len() > 1, "or this proves nothing");
    Theirs { ids, contents }
}

/// The call with these values wherever an id or a content is asked for.
fn call(function: &Function, id: &str, content: &str) -> String {
    let arguments: Vec<_> = function
        .types
        .iter()
        .map(|kind| match kind.as_str() {
            "uuid" => format!("'{id}'"),
            "uuid[]" => format!("'{{{id}}}'::uuid[]"),
            "bytea" => format!("'{content}'::bytea"),
            "bytea[]" => format!("array['{content}'::bytea]"),
            "integer" | "bigint" | "smallint" => format!("1::{kind}"),
            "interval" => "'1 s'::interval".into(),
            "boolean" => "true".into(),
            "integer[]" | "bigint[]" | "smallint[]" => format!("'{{1}}'::{kind}"),
            kind if kind.ends_with("[]") => format!("'{{}}'::{kind}"),
            "text" => "'x'".into(),
            kind => format!("null::{kind}"),
        })
        .collect();
    format!("select * from {}({})", function.name, arguments.join(", "))
}

/// Calls these functions about everything of B's.
pub(super) async fn check(seeded: &Seeded, functions: &[Function], all: &[Table]) -> Vec<Violation> {
    let mut superuser = seeded.superuser().await;
    let theirs = theirs(&mut superuser, seeded).await;
    let foreign = Foreign::new(seeded, all);
    let before = foreign.look(&mut superuser).await;
    let absent_content = format!("\\x01551220{}{}", Uuid::now_v7().simple(), Uuid::now_v7().simple());
    let absent_id = Uuid::now_v7().to_string();
    let absent = [absent_id.clone(), absent_content.clone(), absent_content[2..].to_owned()];
    let mut tenant = seeded.tenant("").await;
    run(&mut tenant, "rollback").await;
    let mut violations = Vec::new();
    for function in functions {
        let (expected, _) = as_a(&mut tenant, seeded, all, &call(function, &absent_id, &absent_content)).await;
        let expected = expected.without(&absent);
        for (id, content) in theirs.ids.iter().flat_map(|id| theirs.contents.iter().map(move |content| (id, content))) {
            let call = call(function, id, content);
            let mut violated = |what: String| {
                violations.push(Violation::new("a function reaches another org's", format!("{call}: {what}")));
            };
            let (outcome, locked) = as_a(&mut tenant, seeded, all, &call).await;
            let outcome = outcome.without(&[id.clone(), content.clone(), content[2..].to_owned()]);
            if outcome != expected {
                violated(format!("{outcome:?}, and {expected:?} for what does not exist"));
            }
            if !locked.is_empty() {
                violated(format!("locks rows of {locked:?}"));
            }
            let after = foreign.look(&mut superuser).await;
            if after != before {
                violated(format!("changes {:?}", before.iter().zip(&after).find(|(old, new)| old != new)));
                return violations;
            }
        }
    }
    violations
}

/// Runs a call as A and commits; also gives the tables in which it locked rows of B.
async fn as_a(tenant: &mut PgConnection, seeded: &Seeded, all: &[Table], call: &str) -> (Outcome, Vec<String>) {
    run(tenant, "begin").await;
    enter(tenant, &seeded.a.to_string()).await;
    let outcome = run(tenant, call).await;
    let locked = tables::locked(seeded, all).await;
    run(tenant, "commit").await;
    (outcome, locked)
}
