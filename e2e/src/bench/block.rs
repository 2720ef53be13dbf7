//! One-block DAGs: fresh ones that nobody has, and ones that a Kubo is given beforehand.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use cid::Cid;
use multihash::Multihash;
use sha2::{Digest as _, Sha256};

use super::http::{Connection, post};

const RAW: u64 = 0x55;
const SHA2_256: u64 = 0x12;
const BOUNDARY: &str = "anchorage-bench";
/// Blocks in one CAR: an import of this size takes Kubo about a second.
const IMPORT_MAX: usize = 10_000;

/// The CIDv1 of a raw block.
pub fn cid_of(block: &[u8]) -> Cid {
    with_digest(&Sha256::digest(block))
}

/// The CID of a block that nobody has.
pub fn fresh_cid() -> Cid {
    with_digest(&rand::random::<[u8; 32]>())
}

fn with_digest(digest: &[u8]) -> Cid {
    Cid::new_v1(RAW, Multihash::wrap(SHA2_256, digest).expect("a digest of 32 bytes fits"))
}

/// Gives a Kubo `count` new raw blocks of 32 bytes, unpinned, and says which.
///
/// # Errors
/// When Kubo refuses them.
pub async fn give(kubo: SocketAddr, count: usize) -> Result<Vec<Cid>> {
    let mut cids = Vec::with_capacity(count);
    let mut connection = Connection::open(kubo).await?;
    while cids.len() < count {
        let blocks: Vec<[u8; 32]> = (cids.len()..count).take(IMPORT_MAX).map(|_| rand::random()).collect();
        let part: Vec<Cid> = blocks.iter().map(|block| cid_of(block)).collect();
        let form = form(&car(&part, &blocks));
        let kind = format!("multipart/form-data; boundary={BOUNDARY}");
        let answer = connection.send(&post("/api/v0/dag/import?pin-roots=false", "", &kind, &form)).await?;
        let said = String::from_utf8_lossy(answer.body);
        ensure!(answer.status == 200, "dag/import answered {}: {said}", answer.status);
        cids.extend(part);
    }
    Ok(cids)
}

/// A CARv1 file. It has to name a root.
fn car(cids: &[Cid], blocks: &[[u8; 32]]) -> Vec<u8> {
    // DAG-CBOR of {"roots": [cid], "version": 1}; tag 42 is a CID with a leading zero byte.
    let mut header = b"\xa2\x65roots\x81\xd8\x2a\x58\x25\x00".to_vec();
    header.extend(cids.first().map(Cid::to_bytes).unwrap_or_default());
    header.extend(b"\x67version\x01");
    let mut file = Vec::with_capacity(cids.len() * 69 + 64);
    // Lengths below 128 are one byte.
    let mut section = |parts: [&[u8]; 2]| {
        file.push(u8::try_from(parts[0].len() + parts[1].len()).unwrap_or(u8::MAX));
        file.extend(parts.concat());
    };
    section([&header, &[]]);
    for (cid, block) in cids.iter().zip(blocks) {
        section([&cid.to_bytes(), block]);
    }
    file
}

fn form(file: &[u8]) -> Vec<u8> {
    let mut form =
        format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"blocks.car\"\r\n\r\n")
            .into_bytes();
    form.extend_from_slice(file);
    form.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    form
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_named_by_its_hash() {
        assert_eq!(cid_of(b"hello world").to_string(), "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e");
        assert_ne!(fresh_cid(), fresh_cid());
    }

    #[test]
    fn a_car_holds_its_header_and_every_block() {
        let block = [7; 32];
        let file = car(&[cid_of(&block)], &[block]);
        assert_eq!(file[0] as usize, 11 + 2 + 36 + 9);
        let section = &file[1 + file[0] as usize..];
        assert_eq!(section[0], 36 + 32);
        assert_eq!(&section[1..37], cid_of(&block).to_bytes());
        assert_eq!(&section[37..], block);
    }
}
