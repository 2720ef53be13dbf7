//! The API's objects as tables, as wide as their contents.

pub(super) mod fleet;
pub(super) mod tokens;

use super::byte_size;
use serde::Deserialize;

/// What the table of nodes shows of a node; the API's object has more.
#[derive(Debug, Deserialize)]
pub(super) struct Node {
    pub(super) name: String,
    #[serde(default)]
    zone: Option<String>,
    pub(super) state: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(rename = "kuboReady")]
    kubo_ready: bool,
    #[serde(default, rename = "kuboDiskFull")]
    kubo_disk_full: bool,
    #[serde(default)]
    pub(super) drain: Option<Drain>,
    placements: Placements,
}

/// How far a drain has come.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Drain {
    pub(super) placements_total: u64,
    pub(super) placements_remaining: u64,
    pub(super) bytes_remaining: u64,
    #[serde(default)]
    pub(super) blocked_by: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Placements {
    queued: u64,
    pinning: u64,
    pinned: u64,
    failed: u64,
    unpinning: u64,
}

/// An org.
#[derive(Debug, Deserialize)]
pub(super) struct Org {
    id: String,
    name: String,
    created: String,
    limits: Limits,
    usage: Usage,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    max_pins: Option<u64>,
    max_bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    pins: u64,
    bytes: u64,
}

/// One line a node.
pub(super) fn nodes(nodes: &[Node]) -> String {
    let head = ["NAME", "ZONE", "STATE", "KUBO", "PINNED", "PINNING", "QUEUED", "FAILED", "UNPINNING", "REASON"];
    let rows = nodes.iter().map(|node| {
        let held = &node.placements;
        [
            node.name.clone(),
            or_dash(node.zone.as_deref()),
            node.state.clone(),
            match (node.kubo_ready, node.kubo_disk_full) {
                (false, _) => "down",
                (true, true) => "disk full",
                (true, false) => "ready",
            }
            .to_owned(),
            held.pinned.to_string(),
            held.pinning.to_string(),
            held.queued.to_string(),
            held.failed.to_string(),
            held.unpinning.to_string(),
            or_dash(node.reason.as_deref()),
        ]
    });
    render(head, rows)
}

/// One line an org.
pub(super) fn orgs(orgs: &[Org]) -> String {
    let rows = orgs.iter().map(|org| {
        [
            org.name.clone(),
            org.id.clone(),
            org.usage.pins.to_string(),
            org.limits.max_pins.map_or_else(|| "none".to_owned(), |pins| pins.to_string()),
            byte_size::show(org.usage.bytes),
            org.limits.max_bytes.map_or_else(|| "none".to_owned(), byte_size::show),
            org.created.clone(),
        ]
    });
    render(["NAME", "ID", "PINS", "MAX-PINS", "BYTES", "MAX-BYTES", "CREATED"], rows)
}

fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}

/// Columns three spaces apart. Control characters, which a reason may hold, must not reach the terminal.
fn render<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows.map(|row| row.map(|cell| cell.replace(|c: char| c.is_control(), " "))));
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(widths) {
            row.push_str(&format!("{cell:<width$}   "));
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}
