//! The line between a pinner and Postgres or NATS, which can be interrupted: what is said stays on the way, as it does in a
//! network that is cut in two, and arrives when the line is whole again.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// What is carried at once, in bytes.
const PIECE: usize = 64 * 1024;

/// A relay on a loopback port of its own. It lasts as long as the runtime.
#[derive(Debug)]
struct Relay {
    address: SocketAddr,
    requests: watch::Sender<bool>,
    answers: watch::Sender<bool>,
}

/// Which direction of a line is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Neither.
    Nothing,
    /// Both.
    Both,
    /// The pinner is heard and hears nothing.
    Answers,
}

/// How each pinner reaches what all share, in the order of the nodes.
#[derive(Debug)]
pub struct Lines {
    postgres: Vec<Relay>,
    nats: Vec<Relay>,
}

impl Lines {
    /// Whole ones.
    ///
    /// # Errors
    /// Without free ports.
    pub fn new(state: &Path, nodes: u8) -> Result<Self> {
        let lines = |part| (0..nodes).map(|_| Relay::to(part, state)).collect::<Result<_>>();
        Ok(Self { postgres: lines("postgres")?, nats: lines("nats")? })
    }

    /// What `anchorage dev` has to be told of them.
    pub fn flags(&self) -> [String; 2] {
        [("postgres", &self.postgres), ("nats", &self.nats)].map(|(part, lines)| {
            let addresses: Vec<_> = lines.iter().map(|line| line.address.to_string()).collect();
            format!("--{part}-through={}", addresses.join(","))
        })
    }

    /// Interrupts or mends the line between a node's pinner and Postgres.
    pub fn cut_postgres(&self, node: usize, cut: Cut) {
        self.postgres[node].cut(cut);
    }

    /// Interrupts or mends the line between a node's pinner and NATS.
    pub fn cut_nats(&self, node: usize, cut: Cut) {
        self.nats[node].cut(cut);
    }

    /// Makes all of them whole.
    pub fn mend(&self) {
        self.postgres.iter().chain(&self.nats).for_each(|line| line.cut(Cut::Nothing));
    }
}

impl Relay {
    /// Listens for one pinner. It leads to the port that `anchorage dev` wrote into its state directory as that of `part`.
    ///
    /// # Errors
    /// Without a free port.
    fn to(part: &'static str, state: &Path) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen for a pinner")?;
        let address = listener.local_addr().context("listen for a pinner")?;
        listener.set_nonblocking(true).context("listen for a pinner")?;
        let listener = tokio::net::TcpListener::from_std(listener).context("listen for a pinner")?;
        let (requests, answers) = (watch::Sender::new(true), watch::Sender::new(true));
        tokio::spawn(relay(listener, part, state.join("state.json"), requests.subscribe(), answers.subscribe()));
        Ok(Self { address, requests, answers })
    }

    /// Interrupts the line, or mends it.
    fn cut(&self, cut: Cut) {
        self.requests.send_replace(cut != Cut::Both);
        self.answers.send_replace(cut == Cut::Nothing);
    }
}

async fn relay(
    listener: tokio::net::TcpListener,
    part: &'static str,
    ports: PathBuf,
    requests: watch::Receiver<bool>,
    answers: watch::Receiver<bool>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let (ports, requests, answers) = (ports.clone(), requests.clone(), answers.clone());
        tokio::spawn(async move {
            let Ok(port) = port(part, &ports) else { return };
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            // An end that cannot be told of now is told of when the line is whole.
            let _ = tokio::join!(carry(from_client, to_server, requests), carry(from_server, to_client, answers));
        });
    }
}

fn port(part: &str, ports: &Path) -> Result<u16> {
    let text = fs::read_to_string(ports).with_context(|| format!("read {}", ports.display()))?;
    let memory: Value = serde_json::from_str(&text).with_context(|| format!("read {}", ports.display()))?;
    memory["ports"][part].as_u64().and_then(|port| port.try_into().ok()).with_context(|| format!("no port of {part}"))
}

/// Carries one direction to its end, as long as it is not interrupted.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut open: watch::Receiver<bool>) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        // Broken off is ended, too: the other side must not wait for ever.
        let length = from.read(&mut piece).await.unwrap_or(0);
        // The run is over when the sender is gone.
        drop(open.wait_for(|open| *open).await);
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&piece[..length]).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn says(stream: &mut TcpStream, what: &[u8]) {
        stream.write_all(what).await.unwrap();
    }

    /// What arrives, however busy the machine is.
    async fn hears(stream: &mut TcpStream) -> Vec<u8> {
        let mut heard = vec![0; 16];
        let length = timeout(Duration::from_secs(10), stream.read(&mut heard)).await.expect("it arrives").unwrap();
        heard.truncate(length);
        heard
    }

    /// That nothing arrives for a while.
    async fn hears_nothing(stream: &mut TcpStream) {
        let heard = timeout(Duration::from_millis(300), stream.read_u8()).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    #[tokio::test]
    async fn what_is_said_while_the_line_is_cut_arrives_when_it_is_mended() {
        let dir = std::env::temp_dir().join(format!("anchorage-relay-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ports = serde_json::json!({"ports": {"nats": listener.local_addr().unwrap().port()}});
        fs::write(dir.join("state.json"), ports.to_string()).unwrap();
        let relay = Relay::to("nats", &dir).unwrap();
        let mut pinner = TcpStream::connect(relay.address).await.unwrap();
        says(&mut pinner, b"one").await;
        let (mut nats, _) = listener.accept().await.unwrap();
        assert_eq!(hears(&mut nats).await, b"one");

        relay.cut(Cut::Both);
        says(&mut pinner, b"two").await;
        says(&mut nats, b"three").await;
        hears_nothing(&mut nats).await;
        hears_nothing(&mut pinner).await;
        relay.cut(Cut::Answers);
        assert_eq!(hears(&mut nats).await, b"two");
        hears_nothing(&mut pinner).await;
        relay.cut(Cut::Nothing);
        assert_eq!(hears(&mut pinner).await, b"three");

        drop(nats);
        assert_eq!(hears(&mut pinner).await, b"");
        fs::remove_dir_all(&dir).unwrap();
    }
}
