//! A `pin/add` under way, read line by line.
//!
//! Kubo answers 200 before it knows the outcome and puts a failure into a trailer that HTTP clients hide. So only
//! a line that names the pin is success; an end without one is a failure, however clean (HAZARDS 13).

use super::KuboError;
use bytes::{Buf, BytesMut};
use serde::Deserialize;

/// A line longer than this is not one of Kubo's.
const LINE_MAX: usize = 64 * 1024;

/// What a line of the answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Still fetching: so many blocks, so many bytes.
    Progress {
        /// Blocks seen so far.
        blocks: u64,
        /// Bytes in them.
        bytes: u64,
    },
    /// It is pinned.
    Pinned,
}

/// The answer to `pin/add`. Dropping it cancels the work.
pub struct Addition {
    response: reqwest::Response,
    buffer: BytesMut,
}

impl Addition {
    pub(super) fn new(response: reqwest::Response) -> Self {
        Self { response, buffer: BytesMut::new() }
    }

    /// Waits for the next line. Kubo writes one every half second. Can be cancelled and asked again.
    pub async fn step(&mut self) -> Result<Step, KuboError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let step = parse(&self.buffer[..end]);
                self.buffer.advance(end + 1);
                return step;
            }
            if self.buffer.len() > LINE_MAX {
                return Err(strange("a line has no end"));
            }
            match self.response.chunk().await.map_err(KuboError::Unreachable)? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if !self.buffer.is_empty() => {
                    let rest = self.buffer.split();
                    return parse(&rest);
                }
                None => return Err(KuboError::Refused("Kubo gave up on fetching the content".into())),
            }
        }
    }
}

fn strange(why: impl Into<String>) -> KuboError {
    KuboError::Strange { call: "pin/add", why: why.into() }
}

fn parse(line: &[u8]) -> Result<Step, KuboError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Line {
        pins: Option<Vec<String>>,
        #[serde(default)]
        progress: u64,
        #[serde(default)]
        bytes: u64,
        message: Option<String>,
    }
    let line: Line = serde_json::from_slice(line).map_err(|error| strange(error.to_string()))?;
    match line {
        Line { message: Some(message), .. } => Err(KuboError::Refused(message)),
        Line { pins: Some(pins), .. } if !pins.is_empty() => Ok(Step::Pinned),
        Line { progress: blocks, bytes, .. } => Ok(Step::Progress { blocks, bytes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_line_that_names_the_pin_is_success() {
        assert_eq!(parse(br#"{"Pins":["bafy"]}"#).unwrap(), Step::Pinned);
        assert_eq!(parse(br#"{"Progress":3,"Bytes":70}"#).unwrap(), Step::Progress { blocks: 3, bytes: 70 });
        assert_eq!(parse(br#"{"Pins":[]}"#).unwrap(), Step::Progress { blocks: 0, bytes: 0 });
        assert!(matches!(parse(br#"{"Message":"no","Code":0,"Type":"error"}"#), Err(KuboError::Refused(_))));
        assert!(matches!(parse(b"<html>"), Err(KuboError::Strange { .. })));
    }
}
