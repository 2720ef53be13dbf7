//! Postgres, NATS and Kubo in containers: each started when a test first needs it, once for all tests, and removed by
//! the watchdog.

use super::watchdog;
use std::{
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use testcontainers::{
    ContainerRequest, GenericImage, ImageExt,
    core::{IntoContainerPort, WaitFor},
    runners::AsyncRunner,
};

/// The superuser's password.
pub(crate) const POSTGRES_PASSWORD: &str = "of-the-superuser";

/// Port of the Postgres that tests share. Every test has a database of its own there; roles are shared.
pub(crate) static POSTGRES: LazyLock<u16> = LazyLock::new(postgres);

/// Starts a Postgres for a test that changes roles.
pub(crate) fn postgres() -> u16 {
    let image = GenericImage::new("postgres", "15")
        .with_exposed_port(5432.tcp())
        .with_env_var("POSTGRES_PASSWORD", POSTGRES_PASSWORD)
        // Postgres is not what is killed here; commits need not reach the disk.
        .with_cmd(["postgres", "-c", "fsync=off", "-c", "max_connections=500", "-c", "log_lock_waits=on"]);
    start(image, 5432)
}

/// Accounts of the shared NATS. A test has one for itself, so that no stream is shared.
const ACCOUNTS: usize = 64;

/// Port of the NATS that tests share.
pub(crate) static NATS: LazyLock<u16> = LazyLock::new(nats_server);

/// Starts a NATS server, for a test that takes it away.
pub(crate) fn nats_server() -> u16 {
    let accounts: String = (0..ACCOUNTS)
        .map(|n| format!("T{n}: {{ jetstream: enabled, users: [{{ user: t{n}, password: t }}] }}\n"))
        .collect();
    let config = format!(
        "port: 4222\njetstream {{ store_dir: /tmp/jetstream, sync_interval: always }}\naccounts {{\n{accounts}}}\n"
    );
    let image = GenericImage::new("nats", "2.15.2")
        .with_exposed_port(4222.tcp())
        .with_wait_for(WaitFor::message_on_stderr("Server is ready"))
        .with_copy_to("/etc/nats/tests.conf", config.into_bytes())
        .with_cmd(["--config", "/etc/nats/tests.conf"]);
    start(image, 4222)
}

/// The URL of an account of the shared NATS that nobody else has.
pub(crate) fn nats() -> String {
    nats_url(*NATS)
}

/// The URL of an account, that nobody else has, of the NATS at `port`.
pub(crate) fn nats_url(port: u16) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let account = NEXT.fetch_add(1, Ordering::Relaxed) % ACCOUNTS;
    format!("nats://t{account}:t@127.0.0.1:{port}")
}

/// Two Kubos of one private network, which dial each other and nobody else.
pub(crate) static KUBOS: LazyLock<[String; 2]> = LazyLock::new(|| {
    let both = [std::thread::spawn(kubo), std::thread::spawn(kubo)];
    both.map(|one| one.join().expect("a Kubo started"))
});

/// Starts a Kubo for a test that collects its garbage, and gives its RPC.
pub(crate) fn kubo() -> String {
    // Everything off that would look for others (HAZARDS 16).
    let quiet = "#!/bin/sh
set -eu
ipfs bootstrap rm --all
ipfs config Routing.Type none
for switch in Discovery.MDNS.Enabled AutoConf.Enabled AutoTLS.Enabled Provide.Enabled HTTPRetrieval.Enabled \
    Swarm.RelayClient.Enabled Swarm.RelayService.Enabled Version.SwarmCheckEnabled; do
    ipfs config --json $switch false
done
ipfs config --json Swarm.DisableNatPortMap true
ipfs config --json Swarm.AddrFilters '[]'
ipfs config --json DNS.Resolvers '{}'
ipfs config --json Routing.DelegatedRouters '[]'
ipfs config --json Ipns.DelegatedPublishers '[]'
ipfs config --json Addresses.Gateway '[]'
ipfs config --json Addresses.Swarm '[\"/ip4/0.0.0.0/tcp/4001\"]'
";
    let swarm_key = format!("/key/swarm/psk/1.0.0/\n/base16/\n{}", "5a".repeat(32));
    let image = GenericImage::new("ipfs/kubo", "v0.43.0")
        .with_exposed_port(5001.tcp())
        .with_wait_for(WaitFor::message_on_stdout("Daemon is ready"))
        .with_env_var("IPFS_SWARM_KEY", swarm_key)
        .with_env_var("IPFS_PROFILE", "test")
        .with_env_var("IPFS_TELEMETRY", "off")
        .with_env_var("LIBP2P_FORCE_PNET", "1")
        .with_copy_to("/container-init.d/quiet.sh", quiet.as_bytes().to_vec());
    format!("http://127.0.0.1:{}", start(image, 5001))
}

/// Starts a container and gives the host's port for its `port`. It lives until the watchdog removes it.
fn start(request: impl Into<ContainerRequest<GenericImage>>, port: u16) -> u16 {
    watchdog::watch();
    let request =
        request.into().with_label(watchdog::LABEL, watchdog::run()).with_startup_timeout(Duration::from_secs(60));
    // A runtime of its own: this may be called from within any test's.
    let starting = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        runtime.block_on(async {
            let container = request.start().await.expect("dockerd starts containers of this image");
            let port = container.get_host_port_ipv4(port).await.expect("the port is exposed");
            std::mem::forget(container);
            port
        })
    });
    starting.join().expect("the container started")
}
