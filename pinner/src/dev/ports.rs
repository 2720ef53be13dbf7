//! Chooses ports: those of the last run where they are still free, so that addresses stay what they were.
//!
//! Between the choice and the moment when a child listens a port is nobody's, and again whenever the child is started anew.
//! So each is claimed, by a lock on a file that all of us know it by, until we end: another `anchorage dev` takes another.

use std::{
    collections::BTreeMap,
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError, set_permissions},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    ops::RangeInclusive,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
};

use anyhow::Context as _;

use super::say;

/// Below the ports that Linux gives to outgoing connections (32768 and up): a child that is started again finds its port
/// free, because nobody was given it in between.
const RANGE: RangeInclusive<u16> = 20_000..=32_000;
/// A thousand misses in a row mean that the range is full.
const ATTEMPTS: u32 = 1_000;

/// Ports by purpose, as `node-0.api`. What is taken stays bound until the book is closed, so that none is taken twice.
#[derive(Debug)]
pub(super) struct PortBook {
    ports: BTreeMap<String, u16>,
    held: Vec<TcpListener>,
    claims: Claims,
}

/// Keeps other runs of this program from our ports.
#[derive(Debug, Default)]
pub(super) struct Claims(Vec<File>);

impl PortBook {
    /// Continues with the ports of the last run.
    pub(super) fn open(ports: BTreeMap<String, u16>) -> Self {
        Self { ports, held: Vec::new(), claims: Claims::default() }
    }

    /// A loopback port for `purpose`: the last one if it is still free.
    pub(super) fn take(&mut self, purpose: &str) -> anyhow::Result<SocketAddr> {
        let last = self.ports.get(purpose).copied();
        if let Some(port) = last
            && let Ok(address) = self.bind(loopback(port))
        {
            return Ok(address);
        }
        for _ in 0..ATTEMPTS {
            let port = rand::random_range(RANGE);
            if self.ports.values().any(|other| *other == port) {
                continue;
            }
            if let Ok(address) = self.bind(loopback(port)) {
                if let Some(last) = last {
                    say(&format!("port {last} of {purpose} is taken by another program; it gets {port} from now on"));
                }
                self.ports.insert(purpose.to_owned(), port);
                return Ok(address);
            }
        }
        anyhow::bail!("no free port between {} and {} for {purpose}", RANGE.start(), RANGE.end())
    }

    /// Exactly this address, which `flag` asked for; with port 0 as [`PortBook::take`] does.
    pub(super) fn take_exactly(
        &mut self,
        address: SocketAddr,
        flag: &str,
        purpose: &str,
    ) -> anyhow::Result<SocketAddr> {
        if address.port() == 0 {
            return Ok(SocketAddr::new(address.ip(), self.take(purpose)?.port()));
        }
        match self.bind(address) {
            Ok(address) => Ok(address),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => anyhow::bail!(
                "port {} is taken by another program, and {flag} {address} asks for it: end that program, or choose another \
                 address with {flag} (port 0 is any free one)",
                address.port(),
            ),
            Err(error) => Err(error).with_context(|| format!("listen on {address}, which {flag} asks for")),
        }
    }

    /// Lets go of the ports, so that the children can bind them, and gives what to remember and what to keep.
    pub(super) fn close(self) -> (BTreeMap<String, u16>, Claims) {
        (self.ports, self.claims)
    }

    fn bind(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let listener = TcpListener::bind(address)?;
        match claim(address.port()) {
            Ok(claim) => self.claims.0.push(claim),
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::AddrInUse.into()),
            // Without claims it goes well almost always.
            Err(TryLockError::Error(_)) => {}
        }
        self.held.push(listener);
        Ok(address)
    }
}

fn claim(port: u16) -> Result<File, TryLockError> {
    let dir = std::env::temp_dir().join("anchorage-dev-ports");
    if DirBuilder::new().create(&dir).is_ok() {
        // As the directory above it: for everybody.
        set_permissions(&dir, Permissions::from_mode(0o1777)).map_err(TryLockError::Error)?;
    }
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(false).mode(0o666);
    let file = open.open(dir.join(port.to_string())).map_err(TryLockError::Error)?;
    file.try_lock()?;
    Ok(file)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_stays_the_same_while_it_is_free() {
        let mut book = PortBook::open(BTreeMap::new());
        let first = book.take("nats").unwrap();
        let other = book.take("postgres").unwrap();
        assert_ne!(first, other);
        let (ports, claims) = book.close();
        drop(claims);
        let mut book = PortBook::open(ports);
        assert_eq!(book.take("nats").unwrap(), first);
    }

    #[test]
    fn a_port_that_another_run_has_claimed_is_taken_though_nobody_listens_there() {
        let mut book = PortBook::open(BTreeMap::new());
        let first = book.take("nats").unwrap();
        let (ports, _claims) = book.close();
        let second = PortBook::open(ports.clone()).take("nats").unwrap();
        assert_ne!(first, second);
        let taken = PortBook::open(ports).take_exactly(first, "--listen", "node-0.api").unwrap_err().to_string();
        assert!(taken.contains("is taken by another program"), "{taken}");
    }

    #[test]
    fn a_port_that_somebody_else_took_is_given_up_for_another() {
        let mut book = PortBook::open(BTreeMap::new());
        let first = book.take("nats").unwrap();
        let (ports, _) = book.close();
        let _somebody = TcpListener::bind(first).unwrap();
        let mut book = PortBook::open(ports);
        let second = book.take("nats").unwrap();
        assert_ne!(first, second);
        assert_eq!(book.close().0["nats"], second.port());
    }

    #[test]
    fn a_taken_address_is_refused_with_the_flag_that_asked_for_it() {
        let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = somebody.local_addr().unwrap();
        let message =
            PortBook::open(BTreeMap::new()).take_exactly(address, "--listen", "node-0.api").unwrap_err().to_string();
        let start = format!("port {} is taken by another program, and --listen {address} asks for it", address.port());
        assert!(message.starts_with(&start), "{message}");
    }
}
