//! The statements that write pins: many of several orgs at once, or one in another one's place. See migration 0005.

use super::{
    TenantTx,
    pins::{PinRow, ProgressRow},
    placements::Wake,
};
use pinner_core::{
    id::{OrgId, PinId},
    options::Copies,
    pin::{NewPin, fold_case},
};
use sqlx::{FromRow, PgConnection, Row, postgres::PgRow, types::Json};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use uuid::Uuid;

/// A pin to be written.
#[derive(Debug, Clone)]
pub struct NewRow {
    /// Whose it is.
    pub org: OrgId,
    /// The id it gets: chosen by us, so that it can be looked up when an answer of the database was lost.
    pub id: PinId,
    /// What was asked for.
    pub pin: NewPin,
    /// From how many nodes on it counts as pinned, and on how many it is put.
    pub copies: Copies,
    /// When it deletes itself.
    pub expires: Option<OffsetDateTime>,
    /// Where it is to be placed.
    pub choice: Choice,
}

/// Nodes for a content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Best first; a few more than copies, since some may have been cordoned just now.
    pub candidates: Vec<Uuid>,
    /// The first so many are where the content belongs; none when it cannot be put where it belongs.
    pub homes: Option<i16>,
    /// By the placement map of this version.
    pub map_version: i64,
}

/// What became of one row.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It is stored.
    Accepted {
        /// Its time.
        created: OffsetDateTime,
        /// `pinned` already if its content is.
        status: String,
        /// Where it is placed and how far it is.
        progress: ProgressRow,
    },
    /// Its org would be over this limit.
    OverLimit {
        /// `pins` or `bytes`.
        limit: String,
        /// The limit.
        most: i64,
        /// What is in use.
        used: i64,
    },
    /// Its org is not there.
    NoSuchOrg,
}

/// What one statement wrote.
#[derive(Debug, Default)]
pub struct Written {
    /// A verdict for each row, in their order.
    pub verdicts: Vec<Verdict>,
    /// One for each node that has work now.
    pub wakes: Vec<Wake>,
}

impl NewRow {
    /// The pin as it is stored with this time and status.
    pub fn stored(self, created: OffsetDateTime, status: String) -> PinRow {
        PinRow {
            id: self.id.uuid(),
            status,
            created,
            content: self.pin.cid.key().as_bytes().to_vec(),
            cid: self.pin.cid.as_str().to_owned(),
            name: self.pin.name,
            origins: self.pin.origins,
            meta: self.pin.meta.map(Json),
        }
    }

    fn folded(&self) -> Option<String> {
        self.pin.name.as_deref().map(fold_case)
    }

    fn origins(&self) -> Option<Json<&[String]>> {
        Some(Json(&self.pin.origins[..])).filter(|origins| !origins.0.is_empty())
    }
}

/// Writes the rows in one commit. Each is refused by itself; an error means that none was written, or, if the connection
/// broke, that nobody knows.
///
/// `connection` must not be inside a transaction: then what is answered here would not be committed. The rows are read
/// to the end of the statement, which comes after the commit.
pub async fn write(connection: &mut PgConnection, rows: &[&NewRow]) -> sqlx::Result<Written> {
    let mut places: BTreeMap<Uuid, i32> = rows.iter().map(|row| (row.org.uuid(), 0)).collect();
    for (place, at) in (1..).zip(places.values_mut()) {
        *at = place;
    }
    let width = rows.iter().map(|row| row.choice.candidates.len()).max().unwrap_or(0);
    // The id of no node fills up.
    let candidates: Vec<Uuid> = rows
        .iter()
        .flat_map(|row| row.choice.candidates.iter().copied().chain(std::iter::repeat(Uuid::nil())).take(width))
        .collect();
    let written =
        sqlx::query("select * from accept_pins($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)")
            .bind(places.keys().copied().collect::<Vec<_>>())
            .bind(rows.iter().map(|row| places[&row.org.uuid()]).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.id.uuid()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.pin.cid.as_str()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.pin.cid.key().as_bytes()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.pin.name.as_deref()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.folded()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.origins()).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.pin.meta.as_ref().map(Json)).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| i16::from(row.copies.min)).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| i16::from(row.copies.max)).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.expires).collect::<Vec<_>>())
            .bind(candidates)
            .bind(i32::try_from(width).unwrap_or(i32::MAX))
            .bind(rows.iter().map(|row| row.choice.homes).collect::<Vec<_>>())
            .bind(rows.iter().map(|row| row.choice.map_version).collect::<Vec<_>>())
            .fetch_all(connection)
            .await?;
    read(&written, rows.len())
}

/// Replaces the org's pin `old` by `row`, all in the caller's transaction. No verdict when there is no such pin.
pub async fn replace(tx: &mut TenantTx, old: PinId, row: &NewRow) -> sqlx::Result<Written> {
    let written =
        sqlx::query("select * from replace_pin($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)")
            .bind(row.org.uuid())
            .bind(old.uuid())
            .bind(row.id.uuid())
            .bind(row.pin.cid.as_str())
            .bind(row.pin.cid.key().as_bytes())
            .bind(&row.pin.name)
            .bind(row.folded())
            .bind(row.origins())
            .bind(row.pin.meta.as_ref().map(Json))
            .bind(i16::from(row.copies.min))
            .bind(i16::from(row.copies.max))
            .bind(row.expires)
            .bind(&row.choice.candidates)
            .bind(row.choice.homes)
            .bind(row.choice.map_version)
            .fetch_all(&mut **tx)
            .await?;
    read(&written, usize::from(!written.is_empty()))
}

/// Deletes a pin, all in the caller's transaction. `None` when it is not there.
pub async fn delete(tx: &mut TenantTx, org: OrgId, id: PinId) -> sqlx::Result<Option<Vec<Wake>>> {
    let rows = sqlx::query("select node_id, job, generation from delete_pin($1, $2)")
        .bind(org.uuid())
        .bind(id.uuid())
        .fetch_all(&mut **tx)
        .await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let of_nodes = rows.iter().filter(|row| matches!(row.try_get::<Option<Uuid>, _>("node_id"), Ok(Some(_))));
    of_nodes.map(Wake::from_row).collect::<sqlx::Result<_>>().map(Some)
}

/// A row for each of `pins` under its number, in any order, and without a number one for each node.
fn read(rows: &[PgRow], pins: usize) -> sqlx::Result<Written> {
    let mut verdicts = vec![None; pins];
    let mut wakes = Vec::new();
    for row in rows {
        let Some(n) = row.try_get::<Option<i64>, _>("n")? else {
            wakes.push(Wake::from_row(row)?);
            continue;
        };
        let place = usize::try_from(n - 1).ok().and_then(|place| verdicts.get_mut(place));
        let place = place.ok_or_else(|| sqlx::Error::Protocol("accept_pins gave a row for no pin".into()))?;
        *place = Some(verdict(row)?);
    }
    let verdicts = verdicts.into_iter().collect::<Option<Vec<_>>>();
    let verdicts = verdicts.ok_or_else(|| sqlx::Error::Protocol("accept_pins gave no row for a pin".into()))?;
    Ok(Written { verdicts, wakes })
}

fn verdict(row: &PgRow) -> sqlx::Result<Verdict> {
    if let Some(created) = row.try_get("created")? {
        let status = row.try_get("status")?;
        return Ok(Verdict::Accepted { created, status, progress: ProgressRow::from_row(row)? });
    }
    let Some(limit) = row.try_get("limit_name")? else { return Ok(Verdict::NoSuchOrg) };
    Ok(Verdict::OverLimit { limit, most: row.try_get("most")?, used: row.try_get("used")? })
}
