//! Looks at a service: at its tables, and at what its Kubos hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use cid::Cid;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use tokio::time::timeout;

use super::{
    facts::{Content, Low, Pin, Placement, Sample, State, Term},
    system::System,
};

/// A question of the database; more means that it is down.
const PATIENCE: Duration = Duration::from_secs(10);
/// The empty directory, which Kubo pins itself when it is first started.
const KUBOS_OWN: &str = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";

/// Every counter that is kept by triggers, beside what it counts. A line for each that is not exact.
const CONTRADICTIONS: &str = "
    select 'references of ' || encode(key, 'hex') || ': ' || refs || ' kept, ' || count(pins.id) || ' counted'
    from contents left join pins on pins.content = key group by key, refs having refs <> count(pins.id)
    union all
    select 'pin ' || id || ' without its content' from pins
    where not exists (select from contents where key = pins.content)
    union all
    select 'content ' || encode(key, 'hex') || ' is held for nobody' from contents where refs = 0
    union all
    select 'pins of org ' || org_id || ' by status ' || status || ' at level ' || level || ': ' || sum(n) || ' too many'
    from (
        select org_id, status, level, bucket, pins as n from pin_counts
        union all
        select org_id, status, level, bucket >> (level - 13), pins
        from count_changes, unnest(array[33, 23, 13]) as level where status is not null
        union all
        select org_id, status, level, (extract(epoch from created) * 1000)::bigint >> level, -1
        from pins, unnest(array[33, 23, 13]) as level
    ) every group by org_id, status, level, bucket having sum(n) <> 0
    union all
    select 'bytes of org ' || org_id || ': ' || sum(n) || ' too many'
    from (
        select org_id, bytes as n from org_usage
        union all
        select org_id, bytes from count_changes
        union all
        select org_id, -bytes from (select distinct org_id, content from pins where refused is null) own
        join contents on key = content
    ) every group by org_id having sum(n) <> 0";

/// Looks at the tables, on a connection that is made anew when it broke.
#[derive(Debug)]
pub struct Tables {
    url: String,
    session: Option<PgConnection>,
}

impl Tables {
    /// Of a service.
    pub fn of(system: &System) -> Self {
        Self { url: system.database_url().to_owned(), session: None }
    }

    /// Has `question` answered.
    ///
    /// # Errors
    /// When the database does not answer in time.
    pub async fn ask<T>(&mut self, question: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>) -> Result<T> {
        let answer = timeout(PATIENCE, async {
            let mut session = match self.session.take() {
                Some(session) => session,
                None => PgConnection::connect(&self.url).await?,
            };
            let answer = question(&mut session).await?;
            self.session = Some(session);
            Ok(answer)
        });
        let answer: sqlx::Result<T> = answer.await.context("the database does not answer in time")?;
        answer.context("ask the database")
    }

    /// A sample.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn sample(&mut self, at: u64) -> Result<Sample> {
        self.ask(async |session| {
            // One statement, one snapshot.
            let (low, terms, map_version, newest_map): (Value, Value, i64, i64) = sqlx::query_as(
                "select
                    (select coalesce(json_agg(json_build_array(encode(content, 'hex'), nodes, least)), '[]') from (
                        select p.content, max(p.copies_min) as least, (
                            select count(*) from placements q where q.content = p.content and q.status = 'pinned'
                        ) as nodes
                        from pins p where p.status = 'pinned' group by p.content
                    ) held where nodes < least),
                    (select json_agg(json_build_array(role, epoch, since::text)) from leaders where since is not null),
                    map_version, coalesce((select max(version) from placement_maps), 0)
                 from fleet",
            )
            .fetch_one(session)
            .await?;
            let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let number = |value: &Value| value.as_i64().unwrap_or_default();
            let low = rows(&low);
            let low =
                low.iter().map(|row| Low { content: text(&row[0]), nodes: number(&row[1]), least: number(&row[2]) });
            let terms = rows(&terms);
            let terms =
                terms.iter().map(|row| Term { role: text(&row[0]), epoch: number(&row[1]), since: text(&row[2]) });
            Ok(Sample { at, low: low.collect(), terms: terms.collect(), map_version, newest_map })
        })
        .await
    }

    /// Every placement.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn placements(&mut self) -> Result<Vec<Placement>> {
        let rows: Vec<(String, String, String)> = self
            .ask(async |session| {
                sqlx::query_as(
                    "select encode(content, 'hex'), name, status::text from placements join nodes on id = node_id",
                )
                .fetch_all(session)
                .await
            })
            .await?;
        Ok(rows.into_iter().map(|(content, node, status)| Placement { content, node, status }).collect())
    }

    /// All of it, with what the Kubos hold.
    ///
    /// # Errors
    /// When anything does not answer.
    pub async fn state(&mut self, system: &System) -> Result<State> {
        let held = held(system).await?;
        let placements = self.placements().await?;
        self.ask(async |session| {
            let pins: Vec<(String, String, String, String, String, String, i16)> = sqlx::query_as(
                "select p.id::text, o.name, coalesce(p.name, ''), p.cid, encode(p.content, 'hex'), p.status::text,
                    p.copies_min
                 from pins p join orgs o on o.id = p.org_id",
            )
            .fetch_all(&mut *session)
            .await?;
            let pins = pins.into_iter().map(|(id, org, name, cid, content, status, copies_min)| Pin {
                id,
                org,
                name,
                cid,
                content,
                status,
                copies_min: usize::try_from(copies_min).unwrap_or_default(),
            });
            let (astray, changed_partitions) = sqlx::query_as(
                "select (select count(*) from contents where astray), (select count(*) from changed_partitions)",
            )
            .fetch_one(&mut *session)
            .await?;
            let contradictions = sqlx::query_scalar(CONTRADICTIONS).fetch_all(&mut *session).await?;
            Ok(State { pins: pins.collect(), placements, held, astray, changed_partitions, contradictions })
        })
        .await
    }
}

/// What each node's Kubo has pinned recursively.
///
/// # Errors
/// When one does not answer.
pub async fn held(system: &System) -> Result<BTreeMap<String, BTreeSet<Content>>> {
    let mut held = BTreeMap::new();
    for node in 0..system.nodes() {
        held.insert(format!("node-{node}"), pins_of(system, node).await?);
    }
    Ok(held)
}

/// What a node's Kubo has pinned recursively, by content.
///
/// # Errors
/// When it does not answer.
pub async fn pins_of(system: &System, node: usize) -> Result<BTreeSet<Content>> {
    let answer = system.ask_kubo(node, "pin/ls?type=recursive").await?;
    let answer: Value = serde_json::from_slice(&answer).context("read what a Kubo holds")?;
    let cids = answer["Keys"].as_object().into_iter().flat_map(|keys| keys.keys());
    cids.filter(|cid| *cid != KUBOS_OWN).map(|cid| content_of(cid)).collect()
}

/// The key of the content that a CID names: its version 1, in hexadecimal.
///
/// # Errors
/// When it is none.
pub fn content_of(cid: &str) -> Result<Content> {
    let cid: Cid = cid.parse().with_context(|| format!("read the CID {cid}"))?;
    let bytes = Cid::new_v1(cid.codec(), *cid.hash()).to_bytes();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The CID of a content.
///
/// # Errors
/// When it is no content.
pub fn cid_of(content: &str) -> Result<String> {
    ensure!(content.is_ascii() && content.len().is_multiple_of(2), "{content} is no content");
    let bytes: Result<Vec<u8>, _> =
        (0..content.len() / 2).map(|place| u8::from_str_radix(&content[2 * place..2 * place + 2], 16)).collect();
    Ok(Cid::try_from(bytes.context("read a content")?).context("read a content")?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_of_a_cid_are_one_content() {
        let (zero, one) = (KUBOS_OWN, "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354");
        assert_eq!(content_of(zero).unwrap(), content_of(one).unwrap());
        assert_eq!(cid_of(&content_of(zero).unwrap()).unwrap(), one);
        assert!(content_of("nonsense").is_err() && cid_of("zz").is_err());
    }
}
