//! A CID as a client wrote it, and the key of the content it names.
//!
//! Two CIDs name the same content when codec and multihash agree; so a CIDv0 and its CIDv1 are one content, while
//! the same bytes read as `raw` and as `dag-pb` are two. Clients get their own spelling back (HAZARDS 17).

use crate::Invalid;
use cid::{
    CidGeneric, Version,
    multibase::{self, Base},
};
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
/// The largest number that a multiformats varint holds; Kubo reads none beyond.
const CODEC_MAX: u64 = u64::MAX >> 1;
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
        let cid = decode(text).map_err(|error| match error {
            // Base64 has slashes of its own, so this is a word about what could not be read.
            _ if text.contains('/') => refuse("is a path; give the CID alone".into()),
            error => refuse(format!("is not a CID: {error}")),
        })?;
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

/// Reads a text that is a CID and nothing else. The parser of the `cid` crate also takes paths that end in a CID, and
/// bytes after it.
fn decode(text: &str) -> Result<Cid, cid::Error> {
    let bytes = if Version::is_v0_str(text) { Base::Base58Btc.decode(text)? } else { multibase::decode(text)?.1 };
    let mut rest = bytes.as_slice();
    let cid = Cid::read_bytes(&mut rest)?;
    if rest.is_empty() { Ok(cid) } else { Err(cid::Error::ParsingError) }
}

/// The identity of a content: the bytes of its CIDv1, so codec and multihash.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentKey(Vec<u8>);

impl ContentKey {
    fn of(cid: &Cid) -> Result<Self, String> {
        let hash = cid.hash();
        let (code, size) = (hash.code(), hash.digest().len());
        if cid.codec() > CODEC_MAX {
            return Err(format!("uses the codec 0x{:x}; numbers of codecs have at most 63 bits", cid.codec()));
        }
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
    fn a_slash_of_base64_is_no_path() {
        let digest = [0xff; 32];
        let text = Cid::new_v1(0x55, Multihash::wrap(0x12, &digest).unwrap()).to_string_of_base(Base::Base64).unwrap();
        assert!(text.contains('/') && SubmittedCid::parse(&text).is_ok(), "{text}");
    }

    #[test]
    fn what_kubo_would_refuse_is_refused_with_the_reason() {
        let cases = [
            (String::new(), "empty"),
            ("hello".into(), "not a CID"),
            (format!("/ipfs/{V1}"), "path"),
            (format!("{V1}aaaaaaaa"), "not a CID"),
            (format!("m/ipfs/{V1}"), "path"),
            ("b".repeat(CID_TEXT_MAX + 1), "bytes"),
            (cid(0x12, &[1; 4]), "digest of 4 bytes"),
            (cid(0xd5, &[1; 16]), "hash function 0xd5"),
            (Cid::new_v1(CODEC_MAX + 1, Multihash::wrap(0x12, &[1; 32]).unwrap()).to_string(), "63 bits"),
        ];
        for (text, expected) in cases {
            let error = SubmittedCid::parse(&text).unwrap_err();
            assert!(error.to_string().contains(expected), "{text}: {error}");
        }
        assert!(SubmittedCid::parse(&cid(IDENTITY, b"tiny")).is_ok());
        assert!(SubmittedCid::parse(&cid(0xb220, &[1; 32])).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_odd_to_be_judged(text in "\\PC{0,80}|[bBfFmMuUzQ/][a-zA-Z0-9+/_=-]{0,200}", cut in 0..V1.len()) {
            for text in [&text, &V1[..cut], &format!("{V1}{text}"), &format!("{}{text}", &V1[..cut])] {
                if let Ok(cid) = SubmittedCid::parse(text) {
                    assert_eq!(cid.as_str(), text);
                    assert_eq!(&ContentKey::from_bytes(cid.key().as_bytes()).unwrap(), cid.key());
                }
            }
        }

        #[test]
        fn every_cid_comes_back_as_it_was_and_both_versions_are_one_content(digest: [u8; 32], codec: u32) {
            let hash = Multihash::wrap(0x12, &digest).unwrap();
            let [v0, v1] = [Cid::new_v0(hash), Ok(Cid::new_v1(0x70, hash))].map(|cid| cid.unwrap().to_string());
            let [v0, v1] = [v0, v1].map(|text| SubmittedCid::parse(&text).map(|cid| (cid.as_str() == text, cid)).unwrap());
            assert!(v0.0 && v1.0 && v0.1.key() == v1.1.key());
            let other = Cid::new_v1(codec.into(), hash);
            for base in [Base::Base2, Base::Base16Lower, Base::Base32Upper, Base::Base36Lower, Base::Base58Btc, Base::Base64] {
                let text = other.to_string_of_base(base).unwrap();
                let parsed = SubmittedCid::parse(&text).unwrap();
                assert_eq!((parsed.as_str(), parsed.key().to_string()), (text.as_str(), other.to_string()));
            }
        }
    }
}
