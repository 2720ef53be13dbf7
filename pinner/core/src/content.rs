//! A CID as a client wrote it, and the key of the content it names.
//!
//! Two CIDs name the same content when codec and multihash agree; so a CIDv0 and its CIDv1 are one content, while
//! the same bytes read as `raw` and as `dag-pb` are two. Clients get their own spelling back (HAZARDS 17).

use crate::Invalid;
use cid::CidGeneric;
use sha2::{Digest, Sha256};
use std::fmt;

/// The longest text accepted as a CID, in bytes: an identity CID of [`IDENTITY_DIGEST_MAX`] bytes in base32 with room to spare.
pub const CID_TEXT_MAX: usize = 512;
/// Bytes that an identity multihash may carry; Kubo's own bound (boxo `verifcid`).
pub const IDENTITY_DIGEST_MAX: usize = 128;
/// Digest sizes that Kubo accepts, in bytes (boxo `verifcid`).
pub const DIGEST_BYTES: std::ops::RangeInclusive<usize> = 20..=128;
/// How many partitions contents are spread over.
pub const PARTITIONS: u32 = 65_536;

/// Large enough for every digest that [`DIGEST_BYTES`] allows; the crate's own default stops at 64 bytes.
type Cid = CidGeneric<128>;

const IDENTITY: u64 = 0x00;
/// Multihash codes that Kubo accepts (boxo `verifcid`), by the multicodec table: sha1, sha2-256, sha2-512,
/// sha3-512…224, shake-256, keccak-224…512, blake3, dbl-sha2-256.
const HASHES: [u64; 14] = [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x56];
/// blake2b and blake2s of at least 160 bits.
const BLAKE2B: std::ops::RangeInclusive<u64> = 0xb214..=0xb240;
const BLAKE2S: std::ops::RangeInclusive<u64> = 0xb254..=0xb260;

/// A CID with the client's spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubmittedCid {
    text: String,
    key: ContentKey,
}

impl SubmittedCid {
    /// Parses the `cid` of a request. Accepts what Kubo can pin: known hashes of sane size.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let refuse = |reason: String| Invalid::new("cid", reason);
        if text.is_empty() {
            return Err(refuse("is empty; give a CID such as bafybei… or Qm…".into()));
        }
        if text.len() > CID_TEXT_MAX {
            return Err(refuse(format!("has {} bytes; at most {CID_TEXT_MAX} are accepted", text.len())));
        }
        // The parser of the `cid` crate also takes URLs and paths that end in a CID.
        if text.contains('/') {
            return Err(refuse("is a path; give the CID alone".into()));
        }
        let cid = Cid::try_from(text).map_err(|error| refuse(format!("is not a CID: {error}")))?;
        Ok(Self { text: text.to_owned(), key: ContentKey::of(&cid).map_err(refuse)? })
    }

    /// The text exactly as the client sent it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The content that this CID names.
    pub fn key(&self) -> &ContentKey {
        &self.key
    }
}

/// The identity of a content: the bytes of its CIDv1, so codec and multihash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentKey(Vec<u8>);

impl ContentKey {
    fn of(cid: &Cid) -> Result<Self, String> {
        let hash = cid.hash();
        let (code, size) = (hash.code(), hash.digest().len());
        match code {
            IDENTITY if size > IDENTITY_DIGEST_MAX => {
                return Err(format!(
                    "carries {size} bytes inline; an identity CID holds at most {IDENTITY_DIGEST_MAX}"
                ));
            }
            IDENTITY => {}
            _ if !HASHES.contains(&code) && !BLAKE2B.contains(&code) && !BLAKE2S.contains(&code) => {
                return Err(format!("uses the hash function 0x{code:x}, which Kubo does not accept"));
            }
            _ if !DIGEST_BYTES.contains(&size) => {
                return Err(format!(
                    "has a digest of {size} bytes; Kubo accepts {} to {}",
                    DIGEST_BYTES.start(),
                    DIGEST_BYTES.end()
                ));
            }
            _ => {}
        }
        Ok(Self(Cid::new_v1(cid.codec(), *hash).to_bytes()))
    }

    /// Reads a key that was stored with [`ContentKey::as_bytes`]. Errors on bytes that are not one CIDv1.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, cid::Error> {
        let cid = Cid::try_from(bytes)?;
        Ok(Self(Cid::new_v1(cid.codec(), *cid.hash()).to_bytes()))
    }

    /// The binary CIDv1, as stored in Postgres.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// `hash(content) mod 65,536`: the first two bytes of SHA-256 over the key. The database computes the same.
    pub fn partition(&self) -> u16 {
        let digest = Sha256::digest(&self.0);
        u16::from_be_bytes([digest[0], digest[1]])
    }
}

/// The canonical text: CIDv1 in base32, which is what Kubo is asked for.
impl fmt::Display for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cid = Cid::try_from(self.0.as_slice()).map_err(|_| fmt::Error)?;
        write!(f, "{cid}")
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use multihash::Multihash;

    const V0: &str = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";
    const V1: &str = "bafybeie5nqv6kd3qnfjupgvz34woh3oksc3iau6abmyajn7qvtf6d2ho34";

    fn cid(code: u64, digest: &[u8]) -> String {
        Cid::new_v1(0x55, Multihash::wrap(code, digest).unwrap()).to_string()
    }

    #[test]
    fn version_0_and_1_are_one_content_and_keep_their_spelling() {
        let (v0, v1) = (SubmittedCid::parse(V0).unwrap(), SubmittedCid::parse(V1).unwrap());
        assert_eq!(v0.key(), v1.key());
        assert_eq!((v0.as_str(), v1.as_str()), (V0, V1));
        assert_eq!(v0.key().to_string(), V1);
        assert_eq!(&ContentKey::from_bytes(v0.key().as_bytes()).unwrap(), v0.key());
    }

    #[test]
    fn another_codec_is_another_content() {
        let digest = [7; 32];
        let raw = Cid::new_v1(0x55, Multihash::wrap(0x12, &digest).unwrap()).to_string();
        let pb = Cid::new_v1(0x70, Multihash::wrap(0x12, &digest).unwrap()).to_string();
        assert_ne!(SubmittedCid::parse(&raw).unwrap().key(), SubmittedCid::parse(&pb).unwrap().key());
    }

    #[test]
    fn what_kubo_would_refuse_is_refused_with_the_reason() {
        let cases = [
            (String::new(), "empty"),
            ("hello".into(), "not a CID"),
            (format!("/ipfs/{V1}"), "path"),
            ("b".repeat(CID_TEXT_MAX + 1), "bytes"),
            (cid(0x12, &[1; 4]), "digest of 4 bytes"),
            (cid(0xd5, &[1; 16]), "hash function 0xd5"),
        ];
        for (text, expected) in cases {
            let error = SubmittedCid::parse(&text).unwrap_err();
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
        assert!(SubmittedCid::parse(&cid(IDENTITY, b"tiny")).is_ok());
        assert!(SubmittedCid::parse(&cid(0xb220, &[1; 32])).is_ok());
    }
}
