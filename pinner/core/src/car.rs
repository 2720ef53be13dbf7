//! The head of a CAR file: which roots it names. The blocks behind it are for Kubo to read.
//!
//! Both versions of the format, see <https://ipld.io/specs/transport/car/>. A header is DAG-CBOR of one fixed shape, so
//! it is read here without a parser of CBOR.

use crate::Invalid;
use cid::CidGeneric;

/// No header is longer, and in version 2 none begins later: it would hold a thousand roots.
pub const HEAD_MAX: usize = 64 * 1024;

/// What version 2 begins with: the header of a file of version 2 without roots.
const PRAGMA_V2: [u8; 11] = *b"\x0a\xa1\x67version\x02";
/// In version 2 the place of the data stands behind the pragma and 16 bytes of characteristics.
const DATA_OFFSET_V2: usize = PRAGMA_V2.len() + 16;
/// CBOR's tag of a link.
const LINK: u64 = 42;

/// The roots that a file names, from its beginning. `None` when that is too short to say.
///
/// # Errors
/// What is no CAR file.
pub fn roots(head: &[u8]) -> Result<Option<Vec<String>>, Invalid> {
    match read(head) {
        Ok(roots) => Ok(Some(roots)),
        Err(Stopped::Short) if head.len() <= HEAD_MAX => Ok(None),
        Err(Stopped::Short) => Err(invalid("its header does not end within 64 KiB")),
        Err(Stopped::Wrong(why)) => Err(invalid(why)),
    }
}

fn invalid(why: &str) -> Invalid {
    Invalid::new("body", format!("is no CAR file: {why}"))
}

enum Stopped {
    /// More is needed.
    Short,
    Wrong(&'static str),
}

fn read(head: &[u8]) -> Result<Vec<String>, Stopped> {
    let common = head.len().min(PRAGMA_V2.len());
    if !head.is_empty() && head[..common] == PRAGMA_V2[..common] {
        let mut reader = Reader(head.get(DATA_OFFSET_V2..).ok_or(Stopped::Short)?);
        let offset = reader.take(8)?.try_into().map(u64::from_le_bytes).unwrap_or(u64::MAX);
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        if !(DATA_OFFSET_V2 + 24..=HEAD_MAX).contains(&offset) {
            return Err(Stopped::Wrong("its data begins at a place where none can be"));
        }
        return header(Reader(head.get(offset..).ok_or(Stopped::Short)?));
    }
    header(Reader(head))
}

/// `{"roots": [link, …], "version": 1}`, behind its length.
fn header(mut file: Reader<'_>) -> Result<Vec<String>, Stopped> {
    let length = file.varint()?;
    if length == 0 || length > HEAD_MAX as u64 {
        return Err(Stopped::Wrong("its header has a length that none has"));
    }
    // What is there already may be wrong already: a file of another kind need not come whole to be refused.
    let mut header = Reader(&file.0[..file.0.len().min(length as usize)]);
    if header.item()? != (5, 2) {
        return Err(Stopped::Wrong("its header is not a map of roots and version"));
    }
    let (mut roots, mut version) = (None, None);
    for _ in 0..2 {
        match header.text()? {
            b"roots" => roots = Some(header.links()?),
            b"version" => version = Some(header.item()?),
            _ => return Err(Stopped::Wrong("its header has a key that is neither roots nor version")),
        }
    }
    match (roots, version) {
        (Some(roots), Some((0, 1))) => Ok(roots),
        _ => Err(Stopped::Wrong("its version is neither 1 nor 2")),
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], Stopped> {
        let (taken, rest) = self.0.split_at_checked(bytes).ok_or(Stopped::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Stopped> {
        let mut value = 0;
        for shift in (0..=28).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Stopped::Wrong("its header has a length that none has"))
    }

    /// The beginning of an item of CBOR: its major type, and its value or length.
    fn item(&mut self) -> Result<(u8, u64), Stopped> {
        let first = self.take(1)?[0];
        let wide = |bytes: &[u8]| bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
        let value = match first & 0x1f {
            small @ 0..=23 => u64::from(small),
            size @ 24..=27 => wide(self.take(1 << (size - 24))?),
            _ => return Err(Stopped::Wrong("its header is not DAG-CBOR")),
        };
        Ok((first >> 5, value))
    }

    fn bytes(&mut self, major: u8) -> Result<&'a [u8], Stopped> {
        match self.item()? {
            (found, length) if found == major && length <= HEAD_MAX as u64 => self.take(length as usize),
            _ => Err(Stopped::Wrong("its header is not of the shape that CAR files have")),
        }
    }

    fn text(&mut self) -> Result<&'a [u8], Stopped> {
        self.bytes(3)
    }

    fn links(&mut self) -> Result<Vec<String>, Stopped> {
        let (4, many) = self.item()? else { return Err(Stopped::Wrong("its roots are not a list")) };
        let mut links = Vec::new();
        for _ in 0..many {
            if self.item()? != (6, LINK) {
                return Err(Stopped::Wrong("a root is not a link"));
            }
            let link = self.bytes(2)?.strip_prefix(&[0]).and_then(|bytes| CidGeneric::<128>::try_from(bytes).ok());
            links.push(link.ok_or(Stopped::Wrong("a root is not a CID"))?.to_string());
        }
        Ok(links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V0: &str = "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG";
    const V1: &str = "bafybeie5nqv6kd3qnfjupgvz34woh3oksc3iau6abmyajn7qvtf6d2ho34";

    fn link(cid: &str) -> Vec<u8> {
        let bytes = CidGeneric::<128>::try_from(cid).unwrap().to_bytes();
        [&[0xd8, 42, 0x58, u8::try_from(bytes.len()).unwrap() + 1, 0][..], &bytes].concat()
    }

    fn v1(cids: &[&str]) -> Vec<u8> {
        let roots: Vec<u8> = cids.iter().flat_map(|cid| link(cid)).collect();
        let map =
            [b"\xa2\x65roots", &[0x80 + u8::try_from(cids.len()).unwrap()][..], &roots, b"\x67version\x01"].concat();
        let length = [(map.len() & 0x7f) as u8 | 0x80, (map.len() >> 7) as u8];
        [&length[..], &map].concat()
    }

    fn v2(cids: &[&str], offset: u64) -> Vec<u8> {
        let padding = vec![0; usize::try_from(offset).unwrap().saturating_sub(51)];
        [&PRAGMA_V2[..], &[0; 16], &offset.to_le_bytes(), &[0; 16], &padding, &v1(cids)].concat()
    }

    #[test]
    fn the_roots_of_both_versions_are_read_as_they_are_spelled() {
        for file in [v1(&[V0, V1]), v2(&[V0, V1], 51), v2(&[V0, V1], 1_000)] {
            assert_eq!(roots(&file).unwrap().unwrap(), [V0, V1]);
            for cut in 0..file.len() {
                assert_eq!(roots(&file[..cut]), Ok(None), "{cut} bytes are too few to say");
            }
        }
        assert_eq!(roots(&v1(&[])).unwrap().unwrap(), [""; 0]);
        // Keys in the other order, which some writers have.
        let map = [b"\xa2\x67version\x01\x65roots\x81".to_vec(), link(V1)].concat();
        let file = [vec![u8::try_from(map.len()).unwrap()], map].concat();
        assert_eq!(roots(&file).unwrap().unwrap(), [V1]);
    }

    #[test]
    fn what_is_no_car_file_is_refused_with_the_reason() {
        let wrong_version = v1(&[V1]).strip_suffix(&[1]).map(|rest| [rest, &[3]].concat()).unwrap();
        for (file, says) in [
            (b"\x00".to_vec(), "length"),
            (b"<html><body>".to_vec(), "map"),
            (vec![0xff; 10], "length"),
            (b"\x80\x80\x05\xa2".to_vec(), "length"),
            (wrong_version, "version"),
            (b"\x0a\xa2\x65roots\x01".to_vec(), "list"),
            (b"\x0a\xa2\x65roots\x81\x01".to_vec(), "link"),
            (b"\x0c\xa2\x65roots\x81\xd8\x2a\x41\x00".to_vec(), "CID"),
            (b"\x0a\xa2\x64rots\x80".to_vec(), "key"),
            (b"\x0a\xbf\x65roots\x80".to_vec(), "DAG-CBOR"),
            (v2(&[V1], 50), "place"),
            (v2(&[V1], HEAD_MAX as u64 + 1), "place"),
            (
                vec![0x80; 0]
                    .into_iter()
                    .chain([0xff, 0xff, 0x03, 0xa2, 0x79, 0xff, 0xff])
                    .chain(vec![b'x'; HEAD_MAX])
                    .collect(),
                "64 KiB",
            ),
        ] {
            let refusal = roots(&file).unwrap_err().to_string();
            assert!(refusal.starts_with("body: is no CAR file: ") && refusal.contains(says), "{says}: {refusal}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_bring_it_down(bytes in proptest::collection::vec(any::<u8>(), 0..200), at in 0_usize..100) {
            drop(roots(&bytes));
            let mut file = v2(&[V0, V1], 51);
            let at = at % file.len();
            file.splice(at..(at + bytes.len()).min(file.len()), bytes.iter().copied());
            drop(roots(&file));
        }
    }
}
