//! Row 3: lists. What `GET /pins` with its exact count takes with 10 M pins in the database, against a bare keyset SELECT
//! of the same rows in the same four statements; and its p99 there against that with 10 thousand pins.
//!
//! Two services run at once, one for each size, and are asked in turn, request by request, so that both have the same
//! weather.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use sqlx::{AssertSqlSafe, PgConnection};

use super::{
    block,
    cpu::Watch,
    disk::{self, synced_writes},
    figures::{Goal, Round, Rounds, median, percentile},
    http::{Connection, get},
    pins::{self, Holdings, STEP, float},
    postgres::{self, Amount, Pgbench},
    scale::Sizes,
    service::{Org, Service},
    table::{Line, Report, millis, thousands},
};
use crate::story::note;

/// Pins in the database that the large one is compared with.
const FEW: u64 = 10_000;
/// Disk that a pin takes with all that belongs to it, and what Postgres logs meanwhile.
const BYTES_A_PIN: u64 = 1_100;
/// Pins of one content in the large database.
const SHARED_BY: u64 = 4;
/// Requests whose times are not kept.
const WARM_UP: usize = 10;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// The newest that are pinned.
    Pinned,
    /// Those that were pinned before some moment about half way back.
    Deep,
    /// The newest that are not pinned: three statuses.
    Statuses,
    /// Those of one content.
    Cid,
    /// Those of one name.
    Name,
}

/// Every question with the page it wants.
const QUESTIONS: [(Question, u16); 8] = [
    (Question::Pinned, 10),
    (Question::Pinned, 1000),
    (Question::Deep, 10),
    (Question::Deep, 1000),
    (Question::Statuses, 10),
    (Question::Statuses, 1000),
    (Question::Cid, 10),
    (Question::Name, 10),
];

/// Measures row 3.
///
/// # Errors
/// When there is too little disk, a part of a service fails, or a list is not what it must be.
pub(super) async fn measure(sizes: &Sizes) -> Result<Report> {
    let (free, needed) = (disk::free()?, sizes.pins * BYTES_A_PIN);
    ensure!(
        free > needed * 5 / 4,
        "{} pins take {:.0} GB of disk and {:.0} GB are free in {}: free some, point TMPDIR elsewhere or use SCALE=small",
        thousands(float(sizes.pins)),
        float(needed) / 1e9,
        float(free) / 1e9,
        std::env::temp_dir().display()
    );
    let begin = Instant::now();
    let mut large = Side::fill(sizes.pins, 10, sizes.pins / SHARED_BY + 1).await?;
    let mut few = Side::fill(FEW, 2, FEW).await?;
    for side in [&mut large, &mut few] {
        side.check_count().await?;
    }
    let written = format!(
        "{} pins written in {:.0} s, the database has {}",
        thousands(float(sizes.pins)),
        begin.elapsed().as_secs_f64(),
        large.size().await?
    );
    note(&written);
    let settings = postgres::durable(&mut large.session).await?;

    let mut report = Report::default();
    let mut tails = Vec::new();
    let watch = Watch::begin(large.service.pids())?;
    for (question, limit) in QUESTIONS {
        let count = if limit == 10 { sizes.lists } else { sizes.lists.div_ceil(4) };
        let what = format!("{}, {limit}", question.words());
        let (mut middles, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..sizes.rounds {
            let disk_before = synced_writes()?;
            let script = question.script(limit, &large.holdings, &large.asked);
            let anchor = large.pgbench.run(&script, 1, Amount::Transactions(count + WARM_UP)).await?;
            let (ours, ours_few) = in_turn(question, limit, count, &mut large, &mut few).await?;
            let disk_after = synced_writes()?;
            let (anchor, middle) = (median(&anchor.millis), median(&ours));
            middles.push(Round { disk_before, ours: middle, anchor, disk_after });
            let (ours, anchor) = (percentile(&ours, 99.0), percentile(&ours_few, 99.0));
            ends.push(Round { disk_before, ours, anchor, disk_after });
        }
        let (middles, ends) = (Rounds(middles), Rounds(ends));
        note(&format!("{what}: p50 {} ({})", millis(middles.ours().median), middles.noise()));
        report.lines.push(Line {
            row: 3,
            what: format!("list {what}: p50 ÷ bare keyset SELECT"),
            ours: millis(middles.ours().median),
            anchor: millis(middles.anchor().median),
            ratio: middles.ratio(),
            goal: Goal::AtMost(1.3),
        });
        tails.push(Line {
            row: 3,
            what: format!("list {what}: p99 at {} ÷ {} pins", thousands(float(sizes.pins)), thousands(float(FEW))),
            ours: millis(ends.ours().median),
            anchor: millis(ends.anchor().median),
            ratio: ends.ratio(),
            goal: Goal::AtMost(1.1),
        });
        report.notes.push(format!("3: {what}: {}", middles.noise()));
    }
    report.lines.extend(tails);
    report
        .notes
        .insert(0, format!("3: {settings}; anchor: pgbench -M prepared -c 1: begin, set_config, select, commit"));
    report.notes.insert(
        1,
        format!(
            "3: generated: {} pins of {} contents, one every {STEP} ms; a tenth are the asked org's, the others those of 1,000 orgs; \
             beside it {} pins, half of them the asked org's; nine of ten are pinned",
            thousands(float(large.holdings.pins)),
            thousands(float(large.holdings.contents)),
            thousands(float(FEW)),
        ),
    );
    report.notes.push(format!("3: {written}; while asking: {}", watch.end()?));
    Ok(report)
}

/// One of the two services and what it holds.
struct Side {
    service: Service,
    session: PgConnection,
    pgbench: Pgbench,
    asked: Org,
    holdings: Holdings,
}

impl Side {
    async fn fill(pins: u64, every: u64, contents: u64) -> Result<Self> {
        let service = Service::start(&[])?;
        let mut session = postgres::superuser(&service).await?;
        let asked = service.org("asked").await?;
        postgres::make_role(&mut session).await?;
        let holdings = pins::fill(&mut session, &asked, pins, every, contents).await?;
        Ok(Self { pgbench: Pgbench::of(&service)?, service, session, asked, holdings })
    }

    /// Of the database on disk, in words.
    async fn size(&mut self) -> Result<String> {
        let size = "select pg_size_pretty(pg_database_size(current_database()))";
        sqlx::query_scalar(size).fetch_one(&mut self.session).await.context("ask for the size")
    }

    /// That the service counts what is there: the counters were written by hand.
    async fn check_count(&mut self) -> Result<()> {
        let counted = self.service.count(&self.asked, "pinned").await?;
        let there: i64 =
            sqlx::query_scalar("select count(*) from pins where org_id = $1::text::uuid and status = 'pinned'")
                .bind(&self.asked.id)
                .fetch_one(&mut self.session)
                .await?;
        ensure!(i64::try_from(counted) == Ok(there), "the service counts {counted} pins where {there} are");
        Ok(())
    }

    /// Paths to ask for, a few more than are counted.
    async fn paths(&mut self, question: Question, limit: u16, count: usize) -> Result<Vec<String>> {
        let numbers = (0..count + WARM_UP).map(|_| question.pick(&self.holdings));
        let paths = match question {
            Question::Pinned => numbers.map(|_| "status=pinned".to_owned()).collect::<Vec<String>>(),
            Question::Statuses => numbers.map(|_| "status=queued,pinning,failed".to_owned()).collect(),
            Question::Cid => numbers.map(|number| format!("cid={}", block::cid_of(&number.to_be_bytes()))).collect(),
            Question::Name => numbers.map(|number| format!("name=name-{number}")).collect(),
            Question::Deep => {
                self.times(numbers.collect()).await?.into_iter().map(|time| format!("before={time}")).collect()
            }
        };
        Ok(paths.into_iter().map(|path| format!("/pins?limit={limit}&{path}")).collect())
    }

    /// When the pins of these numbers were created, as the API writes times.
    async fn times(&mut self, numbers: Vec<u64>) -> Result<Vec<String>> {
        let numbers: Vec<i64> = numbers.into_iter().filter_map(|number| i64::try_from(number).ok()).collect();
        let statement = format!(
            "select to_char(({} + i * interval '{STEP} ms') at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')
             from unnest($1) i",
            self.holdings.base
        );
        sqlx::query_scalar(AssertSqlSafe(statement))
            .bind(numbers)
            .fetch_all(&mut self.session)
            .await
            .context("write times")
    }
}

impl Question {
    fn words(self) -> &'static str {
        match self {
            Self::Pinned => "pinned, first page",
            Self::Deep => "pinned, deep page",
            Self::Statuses => "of three statuses",
            Self::Cid => "by CID",
            Self::Name => "by name",
        }
    }

    /// What a question is about, of those that there are: a pin's number, a content's, a name's.
    fn pick(self, holdings: &Holdings) -> u64 {
        let (from, to) = self.range(holdings);
        let number = rand::random_range(from..to);
        if self == Self::Cid { number * holdings.every % holdings.contents } else { number }
    }

    fn range(self, holdings: &Holdings) -> (u64, u64) {
        match self {
            // In the middle: a full page lies before it in either database.
            Self::Deep => (holdings.pins * 45 / 100, holdings.pins * 55 / 100),
            // Pins of the asked org, which has every so many-th one.
            Self::Cid => (0, holdings.pins / holdings.every),
            Self::Name => (0, holdings.names()),
            Self::Pinned | Self::Statuses => (0, 1),
        }
    }

    /// The anchor: the same rows by a bare SELECT, without their count.
    fn script(self, limit: u16, holdings: &Holdings, asked: &Org) -> String {
        let (from, to) = self.range(holdings);
        let condition = match self {
            Self::Pinned => "status = 'pinned'".to_owned(),
            Self::Deep => {
                format!("status = 'pinned' and created < {} + :n * interval '{STEP} ms'", holdings.base)
            }
            Self::Statuses => "status = any ('{queued,pinning,failed}')".to_owned(),
            Self::Cid => {
                "status = 'pinned' and content = '\\x01551220'::bytea || sha256(int8send(:n::bigint))".to_owned()
            }
            // As the index has names.
            Self::Name => "name_folded = 'name-' || :n::bigint and name = 'name-' || :n::bigint".to_owned(),
        };
        let number = match self {
            Self::Cid => format!("random({from}, {}) * {} % {}", to - 1, holdings.every, holdings.contents),
            _ => format!("random({from}, {})", to - 1),
        };
        format!(
            "\\set n {number}
begin;
select set_config('anchorage.org', '{}', true);
select id, status, created, cid, content, name, origins, meta from pins where {condition} order by created desc limit {limit};
commit;
",
            asked.id
        )
    }
}

/// Milliseconds of as many requests to either side, in turn.
async fn in_turn(
    question: Question,
    limit: u16,
    count: usize,
    large: &mut Side,
    few: &mut Side,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let paths = large.paths(question, limit, count).await?.into_iter().zip(few.paths(question, limit, count).await?);
    let mut connections = (Connection::open(large.service.api()?).await?, Connection::open(few.service.api()?).await?);
    let (mut ours, mut ours_few) = (Vec::new(), Vec::new());
    for (number, (path, path_few)) in paths.enumerate() {
        let took = (
            ask(&mut connections.0, &get(&path, &large.asked.token)).await?,
            ask(&mut connections.1, &get(&path_few, &few.asked.token)).await?,
        );
        if number >= WARM_UP {
            ours.push(took.0);
            ours_few.push(took.1);
        }
    }
    Ok((ours, ours_few))
}

async fn ask(connection: &mut Connection, request: &[u8]) -> Result<f64> {
    let start = Instant::now();
    let answer = connection.send(request).await?;
    let took = start.elapsed().as_secs_f64() * 1000.0;
    ensure!(answer.status == 200, "GET /pins answered {}: {}", answer.status, String::from_utf8_lossy(answer.body));
    Ok(took)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_about_what_is_there() {
        let holdings =
            Holdings { pins: 200_000, every: 10, contents: 50_001, base: "to_timestamp(1790000000)".to_owned() };
        let asked = Org { id: "the-org".to_owned(), token: String::new() };
        for (question, limit) in QUESTIONS {
            let script = question.script(limit, &holdings, &asked);
            assert!(script.contains("set_config('anchorage.org', 'the-org', true)"), "{script}");
            assert!(script.ends_with(&format!("order by created desc limit {limit};\ncommit;\n")), "{script}");
            assert!(question.pick(&holdings) < holdings.pins);
        }
        for _ in 0..100 {
            assert!(Question::Cid.pick(&holdings) < holdings.contents);
            assert!((90_000..110_000).contains(&Question::Deep.pick(&holdings)));
            assert!(Question::Name.pick(&holdings) < 6_666);
        }
    }
}
