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
        let open = watch::Sender::new(true);
        tokio::spawn(relay(listener, Arc::clone(&target), open.subscribe(), delay));
        Self { port: own, target, open }
    }

    /// Breaks every connection and refuses new ones.
    pub(crate) fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets connections through again.
    pub(crate) fn mend(&self) {
        self.open.send_replace(true);
    }

    /// From now on connections lead to another port.
    pub(crate) fn point_to(&self, port: u16) {
        self.target.lock().expect("nobody panics while holding this lock").set_port(port);
    }
}

async fn relay(listener: TcpListener, target: Arc<Mutex<SocketAddr>>, open: watch::Receiver<bool>, delay: Duration) {
    while let Ok((client, _)) = listener.accept().await {
        let mut open = open.clone();
        let target = *target.lock().expect("nobody panics while holding this lock");
        tokio::spawn(async move {
            if !*open.borrow_and_update() {
                return;
            }
            let Ok(server) = TcpStream::connect(target).await else { return };
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            tokio::select! {
                _ = async { tokio::join!(carry(from_client, to_server, delay), carry(from_server, to_client, delay)) } => {}
                _ = open.changed() => {}
            }
        });
    }
}

/// Carries one direction until it ends.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) -> io::Result<()> {
    let mut message = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut message).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        tokio::time::sleep(delay).await;
        to.write_all(&message[..length]).await?;
    }
}
