//! The belt: proof that in the database itself no org reaches another's rows, whatever the program above it does.
//!
//! Made from the catalogue and not from a list of today's tables, so a new table is covered by being there. [`belt`] is
//! the proof, [`mutants`] proves it: each policy weakened, each guard removed, each grant widened turns it red.

mod catalogue;
mod contexts;
mod definers;
mod lists;
mod mutants;
mod outcome;
pub(crate) mod seed;
mod statements;
mod tables;
mod torture;

use seed::Seeded;

/// Something by which one org could reach another.
#[derive(Debug)]
struct Violation {
    /// What kind.
    wrong: &'static str,
    /// Where.
    what: String,
}

impl Violation {
    fn new(wrong: &'static str, what: impl Into<String>) -> Self {
        Self { wrong, what: what.into() }
    }
}

/// Everything by which one org of this database could reach another.
async fn belt(seeded: &Seeded) -> Vec<Violation> {
    let mut superuser = seeded.superuser().await;
    let (tables, functions) = (tables::all(&mut superuser).await, definers::all(&mut superuser).await);
    let mut violations = catalogue::check(&mut superuser).await;
    violations.extend(contexts::check(seeded, &tables).await);
    violations.extend(definers::check(seeded, &functions, &tables).await);
    violations.extend(statements::check(seeded, &tables, &tables).await);
    violations
}

#[tokio::test]
async fn no_org_reaches_another_by_any_table_policy_function_or_grant() {
    let violations = belt(&Seeded::new().await).await;
    let lines: Vec<_> = violations.iter().map(|violation| format!("{}: {}", violation.wrong, violation.what)).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}
