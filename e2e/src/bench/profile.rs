//! `e2e profile`: where the time of an accept goes. The load of row 1, looked at from all sides: processors by process,
//! statements by time (those inside functions too), what sessions wait for, and `perf`, where it is installed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use sqlx::{AssertSqlSafe, PgConnection};
use tokio::time::sleep;

use super::{
    accept::Bench,
    cpu::Watch,
    figures::{as_float, median, percentile},
    postgres,
    service::Service,
    table::{millis, rate},
};
use crate::program::Program;

/// How long the load is looked at.
const FOR: Duration = Duration::from_secs(8);
/// Between two looks at what sessions wait for.
const LOOK: Duration = Duration::from_millis(10);
/// Statements, and functions of programs, that are shown.
const SHOWN: usize = 30;

/// Has Postgres count statements from its next start on.
const COUNT_STATEMENTS: &str = "alter system set shared_preload_libraries = 'pg_stat_statements'";
/// And from then on those inside functions too; it knows that setting only then.
const COUNT_INNER: [&str; 4] = [
    "create extension pg_stat_statements",
    "alter system set pg_stat_statements.track = 'all'",
    "alter system set pg_stat_statements.track_utility = 'on'",
    "select pg_reload_conf()",
];

/// Profiles and gives what to print.
///
/// # Errors
/// When the service does not start or fails.
pub(super) async fn run() -> Result<String> {
    let state = Scratch(std::env::temp_dir().join(format!("anchorage-profile-{}", std::process::id())));
    {
        let service = Service::start_in(Some(&state.0), &[])?;
        let mut session = postgres::superuser(&service).await?;
        sqlx::raw_sql(COUNT_STATEMENTS).execute(&mut session).await.context("set up pg_stat_statements")?;
    }
    let bench = Bench::prepare_in(Some(&state.0)).await?;
    let mut session = postgres::superuser(&bench.service).await?;
    for statement in COUNT_INNER {
        sqlx::raw_sql(statement).execute(&mut session).await.context("set up pg_stat_statements")?;
    }
    bench.load(Duration::from_secs(1)).await?;
    sqlx::raw_sql("select pg_stat_statements_reset()").execute(&mut session).await?;

    let watch = Watch::begin(bench.service.pids())?;
    let (load, waits) = tokio::join!(bench.load(FOR), waits(&mut session));
    let (load, waits, processors) = (load?, waits?, watch.end()?);
    let accepts = as_float(load.millis.len());
    let mut text = format!(
        "{} accepted, p50 {}, p99 {}\n{processors}\n\nstatements, milliseconds an accept (calls an accept):\n",
        rate(load.rate()),
        millis(median(&load.millis)),
        millis(percentile(&load.millis, 99.0)),
    );
    text += &statements(&mut session, accepts).await?;
    text += "\nwhat busy sessions of the API did, in parts of all looks:\n";
    text += &waits;
    text += "\n";
    text += &perf(&bench, &state.0).await?;
    Ok(text)
}

async fn statements(session: &mut PgConnection, accepts: f64) -> Result<String> {
    let rows: Vec<(f64, f64, f64, bool, String)> = sqlx::query_as(AssertSqlSafe(format!(
        "select total_exec_time, calls::float8, wal_bytes::float8, toplevel,
            left(regexp_replace(query, '\\s+', ' ', 'g'), 140)
         from pg_stat_statements where userid = 'anchorage_api'::regrole or not toplevel
         order by total_exec_time desc limit {SHOWN}"
    )))
    .fetch_all(session)
    .await?;
    let line = |(time, calls, wal, outer, text): &(f64, f64, f64, bool, String)| {
        let depth = if *outer { "" } else { "  in it: " };
        format!("{:7.3} ({:5.2}, {:6.0} B of WAL)  {depth}{text}\n", time / accepts, calls / accepts, wal / accepts)
    };
    Ok(rows.iter().map(line).collect())
}

/// What sessions of the API are seen to wait for.
async fn waits(session: &mut PgConnection) -> Result<String> {
    let start = std::time::Instant::now();
    let (mut seen, mut all) = (BTreeMap::<String, usize>::new(), 0_usize);
    while start.elapsed() < FOR {
        let rows: Vec<(String,)> = sqlx::query_as(
            "select case
                when state = 'active' then coalesce(wait_event_type || ' ' || wait_event, 'on a processor')
                else state end
             from pg_stat_activity where usename = 'anchorage_api' and state <> 'idle'",
        )
        .fetch_all(&mut *session)
        .await?;
        for (what,) in rows {
            *seen.entry(what).or_default() += 1;
            all += 1;
        }
        sleep(LOOK).await;
    }
    let mut seen: Vec<(String, usize)> = seen.into_iter().collect();
    seen.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let line =
        |(what, count): &(String, usize)| format!("{:5.1} %  {what}\n", as_float(*count) / as_float(all) * 100.0);
    Ok(seen.iter().map(line).collect())
}

/// What `perf` sees of the whole machine under the load.
async fn perf(bench: &Bench, scratch: &Path) -> Result<String> {
    let data = scratch.join("perf.data");
    let file = data.to_str().context("the scratch directory's path is not UTF-8")?;
    let seconds = FOR.as_secs().to_string();
    let recorder = tokio::process::Command::new("perf")
        .args(["record", "-q", "-a", "-F", "499", "-o", file, "--", "sleep", &seconds])
        .output();
    let (load, recorded) = tokio::join!(bench.load(FOR), recorder);
    load?;
    if !recorded.is_ok_and(|output| output.status.success()) {
        return Ok("perf is not installed, or may not look at the whole machine\n".to_owned());
    }
    let mut text = String::new();
    for (what, sort, lines) in [("programs", "comm", 12), ("functions", "comm,symbol", SHOWN)] {
        let report = ["report", "-i", file, "--stdio", "-q", "--sort", sort, "--percent-limit", "0.4"];
        let said = Program::new("perf").args(report).run()?;
        text += &format!("\nperf, {what}:\n");
        for line in said.lines().filter(|line| !line.trim().is_empty()).take(lines) {
            // Columns as wide as the longest name, and empty ones behind.
            let words: Vec<&str> = line.split_whitespace().filter(|word| *word != "-").collect();
            text += &format!("{}\n", words.join(" "));
        }
    }
    Ok(text)
}

/// A directory that goes with the value.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
