//! A file on its way into a Kubo, as it comes. Nothing is pinned by it.
//!
//! A body that ends before its end reaches Kubo as a broken connection, never as a shorter file. And as with `pin/add`
//! an answer that begins well may end badly: only its last word counts.

use super::{Kubo, KuboError, accepted};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use pinner_core::content::ContentKey;
use serde::Deserialize;
use std::{io, time::Duration};
use tokio::sync::mpsc;

/// Chunks on their way; the network's own buffers come on top.
const CHUNKS: usize = 8;
/// How long Kubo may take no byte, or need for its answer after the last.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// The end at which a file is put in. Dropped before [`Inlet::finish`], the file counts as cut off.
pub struct Inlet(mpsc::Sender<Option<Bytes>>);

/// The end at which it comes out.
pub struct Outlet(mpsc::Receiver<Option<Bytes>>);

/// A way for one file.
pub fn channel() -> (Inlet, Outlet) {
    let (inlet, outlet) = mpsc::channel(CHUNKS);
    (Inlet(inlet), Outlet(outlet))
}

/// Kubo does not take the file any more; its answer says why.
#[derive(Debug)]
pub struct Stopped;

impl Inlet {
    /// Puts in the next bytes; waits while Kubo is slower than they come.
    pub async fn put(&self, bytes: Bytes) -> Result<(), Stopped> {
        self.send(Some(bytes)).await
    }

    /// That was all.
    pub async fn finish(self) -> Result<(), Stopped> {
        self.send(None).await
    }

    async fn send(&self, part: Option<Bytes>) -> Result<(), Stopped> {
        let sent = tokio::time::timeout(IDLE_MAX, self.0.send(part)).await;
        sent.map_err(|_| Stopped)?.map_err(|_| Stopped)
    }
}

impl Kubo {
    /// Takes in the blocks of a CAR file, each checked against its CID.
    pub async fn import_car(&self, file: Outlet) -> Result<(), KuboError> {
        let parameters = [("pin-roots", "false"), ("stats", "true"), ("fast-provide-root", "false")];
        let line = self.upload("dag/import", &parameters, file).await?;
        line.stats.map(drop).ok_or_else(|| KuboError::Refused("the import ended before its end".into()))
    }

    /// Takes in a file, cut into blocks as Kubo does by default. Gives its CID, of version 1.
    pub async fn add_file(&self, file: Outlet) -> Result<String, KuboError> {
        let parameters =
            [("pin", "false"), ("cid-version", "1"), ("progress", "false"), ("fast-provide-root", "false")];
        let line = self.upload("add", &parameters, file).await?;
        line.hash.ok_or_else(|| KuboError::Refused("the file was cut off".into()))
    }

    /// Whether it holds a block itself; asks nobody else.
    pub async fn has_block(&self, content: &ContentKey) -> Result<bool, KuboError> {
        let parameters = [("arg", content.to_string()), ("offline", "true".into())];
        let parameters: Vec<_> = parameters.iter().map(|(key, value)| (*key, value.as_str())).collect();
        match self.lookup::<serde_json::Value>("block/stat", &parameters).await {
            Ok(_) => Ok(true),
            Err(KuboError::Refused(why)) if why.contains("not found") || why.contains("offline") => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn upload(&self, call: &'static str, parameters: &[(&str, &str)], file: Outlet) -> Result<Line, KuboError> {
        // Nobody who sends a file can know it, so none can end the part before its end.
        let boundary = format!("{:032x}", rand::random::<u128>());
        let request = self
            .client
            .post(self.endpoint(call))
            .query(parameters)
            .header("content-type", format!("multipart/form-data; boundary={boundary}"))
            .body(reqwest::Body::wrap_stream(form(boundary, file)));
        let response = accepted(request.send().await.map_err(KuboError::Unreachable)?).await?;
        let answer = tokio::time::timeout(IDLE_MAX, response.bytes()).await;
        let answer = answer.map_err(|_| KuboError::Strange { call, why: "it does not end".into() })?;
        last_line(call, &answer.map_err(KuboError::Unreachable)?)
    }
}

/// A form with the file as its only part.
fn form(boundary: String, file: Outlet) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\nContent-Type: application/octet-stream\r\n\r\n"
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    let parts = stream::unfold(Some(file.0), |parts| async move {
        let mut parts = parts?;
        match parts.recv().await {
            Some(Some(bytes)) => Some((Ok(bytes), Some(parts))),
            Some(None) => None,
            None => Some((Err(io::Error::other("the file was cut off")), None)),
        }
    });
    let whole = |text: String| stream::once(async move { Ok(Bytes::from(text)) });
    whole(head).chain(parts).chain(whole(tail))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    hash: Option<String>,
    stats: Option<serde_json::Value>,
    message: Option<String>,
}

fn last_line(call: &'static str, answer: &[u8]) -> Result<Line, KuboError> {
    let mut last = Line::default();
    for line in answer.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        last = serde_json::from_slice(line).map_err(|error| KuboError::Strange { call, why: error.to_string() })?;
        if let Some(message) = last.message {
            return Err(KuboError::refused(message));
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::TryStreamExt;

    #[tokio::test]
    async fn a_file_that_is_cut_off_is_an_error_and_not_a_shorter_file() {
        for whole in [true, false] {
            let (inlet, outlet) = channel();
            inlet.put("abc".into()).await.unwrap();
            if whole {
                inlet.finish().await.unwrap()
            } else {
                drop(inlet)
            }
            let sent: io::Result<Vec<Bytes>> = form("b".into(), outlet).try_collect().await;
            assert_eq!(sent.is_ok(), whole);
        }
    }

    #[test]
    fn only_the_last_word_counts() {
        let last = |answer: &str| last_line("add", answer.as_bytes());
        assert_eq!(
            last("{\"Name\":\"a\",\"Hash\":\"x\"}\n{\"Name\":\"b\",\"Hash\":\"y\"}\n").unwrap().hash.unwrap(),
            "y"
        );
        assert!(last("").unwrap().hash.is_none());
        assert!(matches!(last("{\"Hash\":\"x\"}\n{\"Message\":\"no\"}\n"), Err(KuboError::Refused(_))));
        assert!(matches!(last("<html>"), Err(KuboError::Strange { .. })));
    }
}
