//! The fleet's nodes: registration, heartbeat, what was asked of them.

use super::WorkerTx;
use pinner_core::{
    arrange,
    id::NodeId,
    members::{Member, Scheduling},
    placement::{self, Candidate},
};
use sqlx::{FromRow, PgConnection};
use std::{collections::HashMap, time::Duration};
use time::OffsetDateTime;
use uuid::Uuid;

/// So many nodes are asked whether they could stand in: those that have the content already, or failed, are passed over.
const SPARES_MAX: usize = 16;

/// A node as the database knows it.
#[derive(Debug, Clone, FromRow)]
pub struct NodeRow {
    /// Its id.
    pub id: Uuid,
    /// Its name: the PinNode's.
    pub name: String,
    /// Its zone, empty when unknown.
    pub zone: String,
    /// `Active`, `Cordoned` or `Drained`: what was asked for.
    pub scheduling: String,
    /// Which request asked for it.
    pub request_token: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Since when.
    pub scheduling_since: OffsetDateTime,
    /// Placements when the drain began.
    pub drain_total: Option<i64>,
    /// Kubo's peer id, once known.
    pub peer_id: Option<String>,
    /// Kubo's addresses that clients and the fleet may dial, each ending in `/p2p/…`.
    pub addresses: Vec<String>,
    /// Whether Kubo answered when the pinner last looked.
    pub kubo_ready: bool,
    /// Whether the disk of its Kubo is full: it takes nothing new until there is room.
    pub kubo_disk_full: bool,
    /// Its share of the data, in bytes or any common unit.
    pub capacity: i64,
    /// When the pinner last said anything.
    pub seen: OffsetDateTime,
    /// Whether that is recent enough to be given work.
    pub live: bool,
    /// For how many seconds nothing was heard of its Kubo.
    pub silent_seconds: f64,
    /// The placement map that its pinner places by.
    pub map_version: i64,
    /// The offices of the fleet that it holds.
    pub roles: Vec<String>,
}

/// What a pinner says of itself.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// Kubo's peer id; none keeps the last one.
    pub peer_id: Option<String>,
    /// Kubo's addresses; empty keeps the last ones.
    pub addresses: Vec<String>,
    /// Whether Kubo answers.
    pub kubo_ready: bool,
    /// Whether Kubo's disk is full.
    pub kubo_disk_full: bool,
    /// The highest turn that it has claimed in the order of turns since it started.
    pub turn: i64,
    /// How much its Kubo may store; none keeps the last.
    pub capacity: Option<i64>,
    /// The placement map that it places by.
    pub map_version: i64,
    /// The offices of the fleet that it holds.
    pub roles: Vec<&'static str>,
}

impl NodeRow {
    /// What was asked of it.
    pub fn asked(&self) -> Scheduling {
        // The table's check knows the same words.
        self.scheduling.parse().unwrap_or(Scheduling::Cordoned)
    }

    /// Whether it can be given what is new.
    pub fn takes(&self) -> bool {
        self.asked() == Scheduling::Active && !self.kubo_disk_full
    }

    /// The node as the planner sees it, by somebody who has listened for `listened`.
    pub fn member(&self, listened: Duration) -> Member {
        Member {
            id: NodeId::from_uuid(self.id),
            zone: self.zone.clone(),
            capacity: self.capacity.unsigned_abs(),
            scheduling: self.asked(),
            silent_for: Duration::try_from_secs_f64(self.silent_seconds).unwrap_or(Duration::MAX).min(listened),
        }
    }
}

/// How many placements a node has in each status.
#[derive(Debug, Clone, Default, FromRow)]
pub struct PlacementCounts {
    /// Waiting for the node.
    pub queued: i64,
    /// Being fetched.
    pub pinning: i64,
    /// Held.
    pub pinned: i64,
    /// Given up.
    pub failed: i64,
    /// Being let go.
    pub unpinning: i64,
    /// Bytes that pins of the node reported while they were fetched.
    pub bytes: i64,
    /// Uploads that only the node may have, where that decides whether it is drained. They are no placements.
    #[sqlx(default)]
    pub uploads: i64,
}

impl PlacementCounts {
    /// All placements that name the node.
    pub fn total(&self) -> i64 {
        self.queued + self.pinning + self.pinned + self.failed + self.unpinning
    }
}

const COLUMNS: &str = "id, name, zone, scheduling, request_token, reason, scheduling_since, drain_total, peer_id, \
    addresses, kubo_ready, kubo_disk_full, capacity, seen, seen > now() - presence_ttl() as live,
    extract(epoch from greatest(now() - kubo_seen, '0'))::double precision as silent_seconds, map_version, roles";

/// Gives the node of that name its id, and takes note of its zone. `id` is used when the name is new.
pub async fn register(tx: &mut WorkerTx, id: NodeId, name: &str, zone: &str) -> sqlx::Result<NodeId> {
    let id: Uuid = sqlx::query_scalar(
        "insert into nodes (id, name, zone) values ($1, $2, $3)
         on conflict (name) do update set zone = excluded.zone, seen = now()
         returning id",
    )
    .bind(id.uuid())
    .bind(name)
    .bind(zone)
    .fetch_one(&mut **tx)
    .await?;
    Ok(NodeId::from_uuid(id))
}

/// Says that the node lives, and how its Kubo is.
pub async fn heartbeat(tx: &mut WorkerTx, node: NodeId, beat: &Heartbeat) -> sqlx::Result<()> {
    sqlx::query(
        "update nodes
         set seen = now(), kubo_ready = $2, kubo_seen = case when $2 then now() else kubo_seen end, peer_id = coalesce($3, peer_id),
             addresses = case when cardinality($4::text[]) > 0 then $4 else addresses end,
             turn = greatest(turn, $5), map_version = $6, roles = $7,
             capacity = coalesce($8, capacity), kubo_disk_full = $9
         where id = $1",
    )
    .bind(node.uuid())
    .bind(beat.kubo_ready)
    .bind(&beat.peer_id)
    .bind(&beat.addresses)
    .bind(beat.turn)
    .bind(beat.map_version)
    .bind(&beat.roles)
    .bind(beat.capacity)
    .bind(beat.kubo_disk_full)
    .execute(&mut **tx)
    .await
    .map(|_| ())
}

/// Says that the node is going: it takes no new placements until it is seen again. Its grace begins.
pub async fn leave(tx: &mut WorkerTx, node: NodeId) -> sqlx::Result<()> {
    sqlx::query(
        "update nodes
         set seen = least(seen, now() - presence_ttl()), kubo_seen = least(kubo_seen, now() - presence_ttl()),
             kubo_ready = false, roles = '{}'
         where id = $1",
    )
    .bind(node.uuid())
    .execute(&mut **tx)
    .await
    .map(|_| ())
}

/// Every node, by name.
pub async fn fleet(tx: &mut WorkerTx) -> sqlx::Result<Vec<NodeRow>> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!("select {COLUMNS} from nodes order by name"))).fetch_all(&mut **tx).await
}

/// The nodes as who arranges contents sees them.
#[derive(Debug, Default)]
pub struct Standings {
    nodes: HashMap<NodeId, arrange::Node>,
    /// Those that take what is new.
    takers: Vec<Candidate>,
}

impl Standings {
    /// A node; one that is not known neither lives nor takes anything.
    pub fn of(&self, node: NodeId) -> arrange::Node {
        self.nodes.get(&node).copied().unwrap_or_default()
    }

    /// Who could stand in for a node of this partition, best first.
    pub fn spares(&self, partition: u16) -> Vec<NodeId> {
        placement::holders(partition, &self.takers, SPARES_MAX)
    }
}

/// Reads the nodes as they are until the caller's transaction ends, if it holds the fleet's lock.
pub async fn standings(tx: &mut WorkerTx) -> sqlx::Result<Standings> {
    #[derive(FromRow)]
    struct Row {
        id: Uuid,
        zone: String,
        capacity: i64,
        is_live: bool,
        takes: bool,
        leaves: bool,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "select id, zone, capacity, kubo_seen > now() - presence_ttl() as is_live,
            scheduling = 'Active' and not kubo_disk_full as takes, scheduling = 'Drained' as leaves
         from nodes",
    )
    .fetch_all(&mut **tx)
    .await?;
    let mut standings = Standings::default();
    for Row { id, zone, capacity, is_live, takes, leaves } in rows {
        let id = NodeId::from_uuid(id);
        standings.nodes.insert(id, arrange::Node { is_live, takes, leaves });
        if is_live && takes {
            standings.takers.push(Candidate { id, zone, capacity: capacity.unsigned_abs(), cordoned: false });
        }
    }
    Ok(standings)
}

/// Asks for a scheduling. Asking for what is already asked for by the same request changes nothing.
/// `false` when there is no such node.
pub async fn schedule(
    tx: &mut WorkerTx,
    name: &str,
    scheduling: &str,
    request_token: Option<&str>,
    reason: Option<&str>,
) -> sqlx::Result<bool> {
    // Whoever places by what was before has committed when we do.
    sqlx::query("select pg_advisory_xact_lock(fleet_lock())").execute(&mut **tx).await?;
    sqlx::query(
        "update nodes n
         set scheduling = $2, request_token = $3, reason = $4,
             scheduling_since = case when n.scheduling = $2 then n.scheduling_since else now() end,
             drain_total = case
                 when $2 <> 'Drained' then null
                 when n.scheduling = 'Drained' then n.drain_total
                 else (select count(*) from placements p where p.node_id = n.id)
             end
         where name = $1",
    )
    .bind(name)
    .bind(scheduling)
    .bind(request_token)
    .bind(reason)
    .execute(&mut **tx)
    .await
    .map(|done| done.rows_affected() > 0)
}

const COUNTED: &str = "count(*) filter (where status = 'queued') as queued,
    count(*) filter (where status = 'pinning') as pinning,
    count(*) filter (where status = 'pinned') as pinned,
    count(*) filter (where status = 'failed') as failed,
    count(*) filter (where status = 'unpinning') as unpinning,
    coalesce(sum(bytes), 0)::bigint as bytes";

/// What is on a node, its uploads included, read in the caller's transaction.
pub async fn placements(connection: &mut PgConnection, node: NodeId) -> sqlx::Result<PlacementCounts> {
    let query = sqlx::AssertSqlSafe(format!(
        "select {COUNTED}, waiting_uploads($1) as uploads from placements where node_id = $1"
    ));
    sqlx::query_as(query).bind(node.uuid()).fetch_one(connection).await
}

/// What is on each node that has anything. Walks all placements there are.
pub async fn all_placements(tx: &mut WorkerTx) -> sqlx::Result<Vec<(Uuid, PlacementCounts)>> {
    #[derive(FromRow)]
    struct Row {
        node_id: Uuid,
        #[sqlx(flatten)]
        counts: PlacementCounts,
    }
    let query = sqlx::AssertSqlSafe(format!("select node_id, {COUNTED} from placements group by node_id"));
    let rows: Vec<Row> = sqlx::query_as(query).fetch_all(&mut **tx).await?;
    Ok(rows.into_iter().map(|row| (row.node_id, row.counts)).collect())
}
