//! CIDs to pin, and the blocks behind them.

use cid::{Cid, multihash::Multihash};
use sha2::{Digest, Sha256};
use std::sync::atomic::{AtomicU64, Ordering};

const RAW: u64 = 0x55;
const DAG_PB: u64 = 0x70;
const SHA2_256: u64 = 0x12;

/// A block that no other test has.
pub(crate) fn fresh_block() -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("block {} of {}", NEXT.fetch_add(1, Ordering::Relaxed), std::process::id()).into_bytes()
}

/// The CID of a block as raw bytes.
pub(crate) fn raw(block: &[u8]) -> String {
    Cid::new_v1(RAW, hash(block)).to_string()
}

/// A CID that no other test has.
pub(crate) fn fresh() -> String {
    raw(&fresh_block())
}

/// A block of dag-pb that links to these, and its CID.
pub(crate) fn node(links: &[&str]) -> (String, Vec<u8>) {
    let mut block = Vec::new();
    for link in links {
        let target = link.parse::<Cid>().expect("a CID").to_bytes();
        // A PBLink of a hash and an empty name; none of this is longer than a byte can say.
        let link = [&[0x0a, target.len() as u8][..], &target, &[0x12, 0]].concat();
        block.extend([0x12, link.len() as u8]);
        block.extend(link);
    }
    (Cid::new_v1(DAG_PB, hash(&block)).to_string(), block)
}

/// Two spellings of one new content: CIDv0 and CIDv1.
pub(crate) fn both_versions() -> (String, String) {
    let hash = hash(&fresh_block());
    (Cid::new_v0(hash).expect("v0 takes sha2-256").to_string(), Cid::new_v1(DAG_PB, hash).to_string())
}

fn hash(block: &[u8]) -> Multihash<64> {
    Multihash::wrap(SHA2_256, &Sha256::digest(block)).expect("32 bytes fit")
}

/// Stores a block in a Kubo without pinning it.
pub(crate) async fn put(kubo: &str, block: &[u8]) {
    put_as(kubo, block, "raw").await;
}

/// Stores a block of [`node`] in a Kubo without pinning it.
pub(crate) async fn put_node(kubo: &str, block: &[u8]) {
    put_as(kubo, block, "dag-pb").await;
}

async fn put_as(kubo: &str, block: &[u8], codec: &str) {
    let mut body = b"--b\r\nContent-Disposition: form-data; name=\"data\"; filename=\"b\"\r\n\r\n".to_vec();
    body.extend_from_slice(block);
    body.extend_from_slice(b"\r\n--b--\r\n");
    let answer = reqwest::Client::new()
        .post(format!("{kubo}/api/v0/block/put?cid-codec={codec}&mhtype=sha2-256"))
        .header("content-type", "multipart/form-data; boundary=b")
        .body(body)
        .send()
        .await
        .expect("Kubo answers");
    assert!(answer.status().is_success(), "{:?}", answer.text().await);
}

/// Whether a Kubo holds a recursive pin of a CID.
pub(crate) async fn is_pinned(kubo: &str, cid: &str) -> bool {
    let answer = reqwest::Client::new().post(format!("{kubo}/api/v0/pin/ls?type=recursive&arg={cid}")).send().await;
    answer.expect("Kubo answers").status().is_success()
}
