//! A TCP relay between the program and one of its dependencies, which a test can cut, mend and point elsewhere.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// A relay on a loopback port. Ends with its test's runtime.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) port: u16,
    target: Arc<Mutex<SocketAddr>>,
    open: watch::Sender<bool>,
    answers: watch::Sender<bool>,
}

impl Proxy {
    /// A relay to a port of this host.
    pub(crate) async fn to(port: u16) -> Self {
        Self::slowly_to(port, Duration::ZERO).await
    }

    /// A relay that holds back every message for `delay`.
    pub(crate) async fn slowly_to(port: u16, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("it is bound").port();
        let target = Arc::new(Mutex::new(SocketAddr::from(([127, 0, 0, 1], port))));
        let (open, answers) = (watch::Sender::new(true), watch::Sender::new(true));
        let line = Line { open: open.subscribe(), answers: answers.subscribe(), delay };
        tokio::spawn(relay(listener, Arc::clone(&target), line));
        Self { port: own, target, open, answers }
    }

    /// Breaks every connection and refuses new ones.
    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets connections through again.
    pub(crate) fn mend(&self) {
        self.open.send_replace(true);
    }

    /// Lets nothing back to whoever connected, until [`Self::break_off`].
    pub(crate) fn hold_answers(&self) {
        self.answers.send_replace(false);
    }

    /// Breaks every connection, with what it held back, and lets new ones through.
    pub(crate) fn break_off(&self) {
        self.cut();
        self.answers.send_replace(true);
        self.mend();
    }

    /// From now on connections lead to another port.
    pub(crate) fn point_to(&self, port: u16) {
        self.target.lock().expect("nobody panics while holding this lock").set_port(port);
    }
}

/// What a connection heeds.
#[derive(Clone)]
struct Line {
    open: watch::Receiver<bool>,
    answers: watch::Receiver<bool>,
    delay: Duration,
}

async fn relay(listener: TcpListener, target: Arc<Mutex<SocketAddr>>, line: Line) {
    while let Ok((client, _)) = listener.accept().await {
        let Line { mut open, answers, delay } = line.clone();
        let target = *target.lock().expect("nobody panics while holding this lock");
        tokio::spawn(async move {
            if !*open.borrow_and_update() {
                return;
            }
            let Ok(server) = TcpStream::connect(target).await else { return };
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            let always = watch::Sender::new(true);
            let there = carry(from_client, to_server, always.subscribe(), delay);
            let back = carry(from_server, to_client, answers, delay);
            tokio::select! {
                // What is held back at the end of a connection is lost with it.
                biased;
                _ = open.changed() => {}
                _ = async { tokio::join!(there, back) } => {}
            }
        });
    }
}

/// Carries one direction until it ends, while the gate is open.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut gate: watch::Receiver<bool>,
    delay: Duration,
) -> io::Result<()> {
    let mut message = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut message).await?;
        tokio::time::sleep(delay).await;
        // Whoever opens and closes it outlives nobody's connection but its own.
        drop(gate.wait_for(|open| *open).await);
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&message[..length]).await?;
    }
}
