//! nats-server with JetStream, every message on disk before it is acknowledged.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use nix::sys::signal::Signal;
use tokio::{io::AsyncReadExt as _, net::TcpStream, time::timeout};

use super::{
    Stage,
    child::{Child, Program},
    setup::Setup,
    state::{private_dir, write_private},
};

/// Starts nats-server and waits until it greets.
pub(super) async fn start(stage: &Stage, slot: &mut Option<Child>) -> anyhow::Result<()> {
    let setup = &stage.setup;
    let dir = stage.state.nats();
    private_dir(&dir)?;
    let file = dir.join("nats-server.conf");
    write_private(&file, &config(setup, &dir.join("data").display().to_string()))?;
    let program = Program {
        name: "NATS".to_owned(),
        file: stage.programs.nats_server.clone(),
        args: vec!["-c".into(), file.into()],
        variables: Vec::new(),
        stdin: None,
        account: None,
        log: stage.state.log("nats"),
        stop: Signal::SIGTERM,
        grace: Duration::from_secs(5),
    };
    let child = slot.insert(Child::start(program, Arc::clone(&stage.roster)));
    child.ready(async || greets(setup).await).await
}

/// Its URL. No password: wake-ups tell nothing, and who may use loopback has the Kubos' RPC anyway.
pub(super) fn url(address: SocketAddr) -> String {
    format!("nats://{address}")
}

/// The server's own format is close to JSON, and texts are quoted as there.
fn config(setup: &Setup, data: &str) -> String {
    format!(
        "listen: {:?}\nserver_name: \"anchorage-dev\"\n\
         jetstream {{\n  store_dir: {data:?}\n  sync_interval: always\n  max_memory_store: 64MB\n  max_file_store: 2GB\n}}\n",
        setup.nats.to_string(),
    )
}

/// It opens the port after JetStream is recovered, and speaks first.
async fn greets(setup: &Setup) -> bool {
    let greeting = async {
        let mut stream = TcpStream::connect(setup.nats).await?;
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting).await?;
        std::io::Result::Ok(greeting)
    };
    matches!(timeout(Duration::from_secs(1), greeting).await, Ok(Ok(greeting)) if &greeting == b"INFO ")
}
