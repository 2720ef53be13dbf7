//! A `pin/add` under way, read line by line.
//!
//! Kubo answers 200 before it knows the outcome and puts a failure into a trailer that HTTP clients hide. So only
//! a line that names the pin is success; an end without one is a failure, however clean (HAZARDS 13).

use super::KuboError;
use bytes::{Buf, BytesMut};
use futures::{FutureExt, future::BoxFuture};
use reqwest::Response;
use serde::Deserialize;
use std::time::Duration;

/// A line longer than this is not one of Kubo's.
const LINE_MAX: usize = 64 * 1024;
/// How long the end of an answer may take after its last line.
const END_WAIT: Duration = Duration::from_millis(50);

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
    answer: Answer,
    buffer: BytesMut,
}

/// Kubo begins to answer when it has found the first block.
enum Answer {
    Awaited(BoxFuture<'static, Result<Response, KuboError>>),
    Begun(Response),
}

impl Addition {
    pub(super) fn new(answer: impl Future<Output = Result<Response, KuboError>> + Send + 'static) -> Self {
        Self { answer: Answer::Awaited(answer.boxed()), buffer: BytesMut::new() }
    }

    /// Whether Kubo has begun to answer.
    pub fn has_begun(&self) -> bool {
        matches!(self.answer, Answer::Begun(_))
    }

    /// Waits for the next line. Kubo writes one every half second, from the first block on. Can be cancelled and
    /// asked again; not after an error.
    pub async fn step(&mut self) -> Result<Step, KuboError> {
        let response = match &mut self.answer {
            Answer::Begun(response) => response,
            Answer::Awaited(answer) => {
                let begun = answer.await?;
                self.answer = Answer::Begun(begun);
                let Answer::Begun(response) = &mut self.answer else { unreachable!("it was just set") };
                response
            }
        };
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let step = parse(&self.buffer[..end]);
                self.buffer.advance(end + 1);
                if matches!(step, Ok(Step::Pinned)) {
                    // To its end, so that the connection serves the next call. That it ends is no condition.
                    drop(
                        tokio::time::timeout(END_WAIT, async { while let Ok(Some(_)) = response.chunk().await {} })
                            .await,
                    );
                }
                return step;
            }
            if self.buffer.len() > LINE_MAX {
                return Err(strange("a line has no end"));
            }
            match response.chunk().await.map_err(KuboError::Unreachable)? {
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
        Line { message: Some(message), .. } => Err(KuboError::refused(message)),
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
