//! A TCP relay between the program and one of its dependencies, which a test can cut, mend and point elsewhere.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
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
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("it is bound").port();
        let target = Arc::new(Mutex::new(SocketAddr::from(([127, 0, 0, 1], port))));
        let open = watch::Sender::new(true);
        tokio::spawn(relay(listener, Arc::clone(&target), open.subscribe()));
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

async fn relay(listener: TcpListener, target: Arc<Mutex<SocketAddr>>, open: watch::Receiver<bool>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let mut open = open.clone();
        let target = *target.lock().expect("nobody panics while holding this lock");
        tokio::spawn(async move {
            if !*open.borrow_and_update() {
                return;
            }
            let Ok(mut server) = TcpStream::connect(target).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                _ = open.changed() => {}
            }
        });
    }
}
