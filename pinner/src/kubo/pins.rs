//! What Kubo holds, as a stream: however many pins there are, few are in memory at a time.

use super::{Kubo, KuboError, accepted};
use bytes::{Buf, BytesMut};
use pinner_core::content::{ContentKey, SubmittedCid};
use reqwest::Response;
use serde::Deserialize;

/// A line longer than this is not one of Kubo's.
const LINE_MAX: usize = 64 * 1024;

/// A recursive pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// What is pinned.
    pub content: ContentKey,
    /// Under which CID: to Kubo those of both versions are two pins.
    pub cid: String,
}

/// The recursive pins of a Kubo, one after the other.
pub struct Pins {
    response: Response,
    buffer: BytesMut,
}

impl Kubo {
    /// Begins to list all recursive pins.
    pub async fn pins(&self) -> Result<Pins, KuboError> {
        // Without a type Kubo walks every DAG it holds (HAZARDS 13).
        let parameters = [("type", "recursive"), ("stream", "true")];
        let request = self.client.post(self.endpoint("pin/ls")).query(&parameters);
        let response = accepted(request.send().await.map_err(KuboError::Unreachable)?).await?;
        Ok(Pins { response, buffer: BytesMut::new() })
    }
}

impl Pins {
    /// The next pin; none at the end. A list that breaks off is an error, never a shorter list.
    pub async fn next(&mut self) -> Result<Option<Pin>, KuboError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                return parse(&line).map(Some);
            }
            if self.buffer.len() > LINE_MAX {
                return Err(strange("a line has no end"));
            }
            match self.response.chunk().await.map_err(KuboError::Unreachable)? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    let rest = self.buffer.split();
                    return parse(&rest).map(Some);
                }
            }
        }
    }
}

fn parse(line: &[u8]) -> Result<Pin, KuboError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Line {
        cid: Option<String>,
        /// An error in the middle of the list.
        err: Option<String>,
        message: Option<String>,
    }
    let line: Line = serde_json::from_slice(line).map_err(|error| strange(&error.to_string()))?;
    match (line.cid, line.err.or(line.message)) {
        (Some(cid), _) if !cid.is_empty() => {
            let content = SubmittedCid::parse(&cid).map_err(|error| strange(&error.to_string()))?.key().clone();
            Ok(Pin { content, cid })
        }
        (_, Some(why)) if !why.is_empty() => Err(KuboError::refused(why)),
        _ => Err(strange("a line names no pin")),
    }
}

fn strange(why: &str) -> KuboError {
    KuboError::Strange { call: "pin/ls", why: why.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_pin_or_an_error_and_never_nothing() {
        let cid = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
        let line = format!(r#"{{"Cid":"{cid}","Type":"recursive","Name":""}}"#);
        assert_eq!(parse(line.as_bytes()).unwrap().content.to_string(), cid);
        for line in ["{}", "", r#"{"Cid":""}"#, r#"{"Cid":"nonsense"}"#, r#"{"Message":"no","Code":0}"#] {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}
