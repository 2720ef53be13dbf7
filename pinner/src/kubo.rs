//! The RPC of the Kubo beside this pinner, as far as pinning needs it.
//!
//! What the RPC promises and what it does differ in places that lose data (HAZARDS 11 to 14); the rules are kept
//! here, so that no caller can break them: a pin is only asked for with a type, an addition counts only when its
//! last line was seen, and nothing else ever removes a pin but [`Kubo::unpin`].

pub mod addition;
pub mod disk;
pub mod pins;
pub mod upload;

use addition::Addition;
use pinner_core::{content::ContentKey, garbage::Repo};
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use std::time::Duration;
use tokio::{io::AsyncReadExt as _, net::TcpStream};

/// Connecting to a process on the same host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Calls that only look something up. Kubo may be busy with a large DAG meanwhile.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(20);
/// What a pinner asks before it says that it lives, one after the other: well within the 30 s after which it counts as gone.
const PULSE_TIMEOUT: Duration = Duration::from_secs(8);
/// Measuring a DAG; some hundred thousand blocks.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(5);
/// Removing a pin can wait for Kubo's locks.
const UNPIN_TIMEOUT: Duration = Duration::from_secs(300);

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum KuboError {
    /// Kubo does not answer, or stopped in the middle.
    #[error("Kubo does not answer: {0}")]
    Unreachable(reqwest::Error),
    /// Kubo answered that it cannot.
    #[error("{0}")]
    Refused(String),
    /// There is no room on Kubo's disk.
    #[error("{0}")]
    Full(String),
    /// Kubo answered something else than it should.
    #[error("Kubo's answer to {call} is not understood: {why}")]
    Strange {
        /// The call.
        call: &'static str,
        /// What was wrong with the answer.
        why: String,
    },
}

/// Who a Kubo is and where it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its peer id.
    pub peer_id: String,
    /// Its addresses, each ending in `/p2p/…`.
    pub addresses: Vec<String>,
}

/// A Kubo daemon.
#[derive(Debug, Clone)]
pub struct Kubo {
    client: Client,
    url: Url,
}

impl Kubo {
    /// A client of the daemon whose RPC is at `url`, such as `http://127.0.0.1:5001`. Nothing is asked of it yet.
    pub fn new(url: Url) -> Self {
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .build()
            .expect("a client without TLS needs nothing that could be missing");
        Self { client, url }
    }

    /// Who it is. Also how one sees whether it answers.
    pub async fn identity(&self) -> Result<Identity, KuboError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            #[serde(rename = "ID")]
            id: String,
            addresses: Option<Vec<String>>,
        }
        let answer: Answer = self.ask("id", &[], PULSE_TIMEOUT).await?;
        Ok(Identity { peer_id: answer.id, addresses: answer.addresses.unwrap_or_default() })
    }

    /// Ends when Kubo does, however soon it is started again: a connection that asks nothing lives as long as it. Gives
    /// whether there was one to wait for.
    pub async fn ends(&self) -> bool {
        let address = (self.url.host_str().unwrap_or_default(), self.url.port_or_known_default().unwrap_or_default());
        let Ok(mut connection) = TcpStream::connect(address).await else { return false };
        // It has nothing to say; whatever comes is its end.
        drop(connection.read_u8().await);
        true
    }

    /// Whether a content is pinned recursively.
    pub async fn is_pinned(&self, content: &ContentKey) -> Result<bool, KuboError> {
        // Without a type Kubo walks every DAG it holds (HAZARDS 13).
        let answer =
            self.lookup::<serde_json::Value>("pin/ls", &[("arg", &content.to_string()), ("type", "recursive")]).await;
        match answer {
            Ok(_) => Ok(true),
            Err(KuboError::Refused(why)) if why.contains("is not pinned") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Blocks and bytes of a content that Kubo holds whole, each block counted once. Kubo walks all of it and asks nobody
    /// for what is missing; one so large that it takes longer than 5 s is an error.
    pub async fn measure(&self, content: &ContentKey) -> Result<(u64, u64), KuboError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            unique_blocks: u64,
            total_size: u64,
        }
        let parameters = [("arg", &*content.to_string()), ("progress", "false"), ("offline", "true")];
        let answer: Answer = self.ask("dag/stat", &parameters, MEASURE_TIMEOUT).await?;
        Ok((answer.unique_blocks, answer.total_size))
    }

    /// Whether Kubo is about to let a content go because somebody asked it to who need not be there any more.
    pub async fn is_unpinning(&self, content: &ContentKey) -> Result<bool, KuboError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Command {
            command: String,
            active: bool,
            args: Option<Vec<String>>,
        }
        let commands: Vec<Command> = self.lookup("diag/cmds", &[]).await?;
        let content = content.to_string();
        Ok(commands.iter().any(|command| {
            command.active && command.command == "pin/rm" && command.args.iter().flatten().any(|arg| *arg == content)
        }))
    }

    /// Begins to pin a content that is **not** pinned: adding one that is deletes its pin first (HAZARDS 11).
    /// Dropping the answer cancels the work in Kubo.
    pub fn add_pin(&self, content: &ContentKey) -> Addition {
        let parameters = [("arg", content.to_string()), ("progress", "true".into())];
        let request = self.client.post(self.endpoint("pin/add")).query(&parameters);
        Addition::new(async move { accepted(request.send().await.map_err(KuboError::Unreachable)?).await })
    }

    /// Lets a content go. One that is not pinned is let go already.
    pub async fn unpin(&self, content: &ContentKey) -> Result<(), KuboError> {
        self.unpin_cid(&content.to_string()).await
    }

    /// Removes the pin of a CID in just this spelling.
    pub async fn unpin_cid(&self, cid: &str) -> Result<(), KuboError> {
        let request = self.client.post(self.endpoint("pin/rm")).query(&[("arg", cid)]);
        let response = request.timeout(UNPIN_TIMEOUT).send().await.map_err(KuboError::Unreachable)?;
        match accepted(response).await {
            Ok(_) => Ok(()),
            Err(KuboError::Refused(why)) if why.contains("not pinned") => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// How many bytes it stores and may store.
    pub async fn repo(&self) -> Result<Repo, KuboError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            repo_size: u64,
            storage_max: u64,
        }
        // All of it would have Kubo look at every block (HAZARDS 13).
        let answer: Answer = self.ask("repo/stat", &[("size-only", "true")], PULSE_TIMEOUT).await?;
        Ok(Repo { used: answer.repo_size, most: answer.storage_max })
    }

    /// Deletes every block that no pin holds. Gives how many those were. Nobody can pin meanwhile, so whoever asks sees to
    /// it that nobody pins (HAZARDS 12).
    pub async fn collect_garbage(&self, within: Duration) -> Result<u64, KuboError> {
        let parameters = [("quiet", "true"), ("stream-errors", "true")];
        let request = self.client.post(self.endpoint("repo/gc")).query(&parameters).timeout(within);
        let mut response = accepted(request.send().await.map_err(KuboError::Unreachable)?).await?;
        let mut removed = 0;
        while let Some(chunk) = response.chunk().await.map_err(KuboError::Unreachable)? {
            removed += chunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        Ok(removed)
    }

    /// Connects to a peer. Best effort: the caller goes on whatever comes of it.
    pub async fn connect(&self, address: &str) -> Result<(), KuboError> {
        self.lookup::<serde_json::Value>("swarm/connect", &[("arg", address)]).await.map(|_| ())
    }

    /// Keeps a connection to another node of the fleet. Lost when Kubo restarts, so asked for again and again.
    pub async fn peer_with(&self, address: &str) -> Result<(), KuboError> {
        self.lookup::<serde_json::Value>("swarm/peering/add", &[("arg", address)]).await.map(|_| ())
    }

    async fn lookup<T: serde::de::DeserializeOwned>(
        &self,
        call: &'static str,
        parameters: &[(&str, &str)],
    ) -> Result<T, KuboError> {
        self.ask(call, parameters, LOOKUP_TIMEOUT).await
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        call: &'static str,
        parameters: &[(&str, &str)],
        within: Duration,
    ) -> Result<T, KuboError> {
        let request = self.client.post(self.endpoint(call)).query(parameters).timeout(within);
        let response = accepted(request.send().await.map_err(KuboError::Unreachable)?).await?;
        let body = response.bytes().await.map_err(KuboError::Unreachable)?;
        serde_json::from_slice(&body).map_err(|error| KuboError::Strange { call, why: error.to_string() })
    }

    fn endpoint(&self, call: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("/api/v0/{call}"));
        url
    }
}

/// A response, if it is one of success; else the message that Kubo gave.
async fn accepted(response: reqwest::Response) -> Result<reqwest::Response, KuboError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Failure {
        message: String,
    }
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(response);
    }
    let body = response.bytes().await.map_err(KuboError::Unreachable)?;
    Err(KuboError::refused(match serde_json::from_slice::<Failure>(&body) {
        Ok(failure) => failure.message,
        Err(_) => format!("{status}: {}", String::from_utf8_lossy(&body).trim()),
    }))
}
