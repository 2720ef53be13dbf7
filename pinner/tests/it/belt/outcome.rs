//! What came of a statement, told without the values that it was about: so that the outcome for another org's row can
//! be compared with that for a row that does not exist.

use futures::StreamExt;
use sqlx::{Either, PgConnection, Row};

/// What came of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Rows as texts.
    pub(super) rows: Vec<String>,
    /// How many rows it changed.
    pub(super) affected: u64,
    /// Code, message and detail of the error.
    pub(super) refusal: Option<String>,
}

impl Outcome {
    /// The same with every one of these values replaced by one word.
    pub(super) fn without(mut self, values: &[String]) -> Self {
        for text in self.rows.iter_mut().chain(&mut self.refusal) {
            // A short one is no id, and stands in other words too.
            for value in values.iter().filter(|value| value.len() > 8) {
                *text = text.replace(value.as_str(), "VALUE");
            }
            *text = without_times(text);
        }
        self
    }

    /// Whether one of these texts is in it.
    pub(super) fn shows(&self, texts: &[String]) -> Option<String> {
        let said = self.rows.iter().chain(&self.refusal);
        said.flat_map(|said| texts.iter().filter(|text| said.contains(text.as_str()))).next().cloned()
    }
}

/// The text without times of the clock such as `2026-11-22 16:35:00.12+00`, which are never the same twice.
fn without_times(text: &str) -> String {
    let digits = |shape: &str, text: &str| {
        text.len() >= shape.len()
            && text.bytes().zip(shape.bytes()).all(|(found, wanted)| match wanted {
                b'0' => found.is_ascii_digit(),
                sign => found == sign,
            })
    };
    let (mut rest, mut without) = (text, String::new());
    while let Some(sign) = rest.chars().next() {
        if digits("0000-00-00 00:00:00", rest) {
            without.push_str("TIME");
            rest = rest["0000-00-00 00:00:00".len()..]
                .trim_start_matches(|sign: char| sign.is_ascii_digit() || sign == '.');
        } else {
            without.push(sign);
            rest = &rest[sign.len_utf8()..];
        }
    }
    without
}

/// Runs a statement; `copy … to stdout` too.
pub(super) async fn run(connection: &mut PgConnection, statement: &str) -> Outcome {
    let mut outcome = Outcome { rows: Vec::new(), affected: 0, refusal: None };
    let result = if statement.starts_with("copy") {
        copy(connection, statement, &mut outcome).await
    } else {
        query(connection, statement, &mut outcome).await
    };
    outcome.refusal = result.err().map(|error| match error.as_database_error() {
        Some(refusal) => {
            let refusal = refusal.downcast_ref::<sqlx::postgres::PgDatabaseError>();
            format!("{} {} {}", refusal.code(), refusal.message(), refusal.detail().unwrap_or_default())
        }
        None => panic!("{statement}: {error}"),
    });
    outcome
}

async fn query(connection: &mut PgConnection, statement: &str, outcome: &mut Outcome) -> sqlx::Result<()> {
    let mut results = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).fetch_many(connection);
    while let Some(result) = results.next().await {
        match result? {
            Either::Left(done) => outcome.affected += done.rows_affected(),
            Either::Right(row) => {
                let column = |n| row.try_get_raw(n).map(|value| value.as_str().unwrap_or_default().to_owned());
                let columns: Result<Vec<String>, _> = (0..row.len()).map(column).collect();
                outcome.rows.push(columns?.join("|"));
            }
        }
    }
    Ok(())
}

async fn copy(connection: &mut PgConnection, statement: &str, outcome: &mut Outcome) -> sqlx::Result<()> {
    let mut parts = connection.copy_out_raw(statement).await?;
    while let Some(part) = parts.next().await {
        outcome.rows.push(String::from_utf8_lossy(&part?).into_owned());
    }
    Ok(())
}
