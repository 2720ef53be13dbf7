//! A Kubo of a user's own, outside the fleet, and the real `ipfs pin remote` client that comes with it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::namespace::Namespace;
use crate::program::Program;
use crate::wait;

/// The name under which the visitor's Kubo knows the service.
const SERVICE: &str = "anchorage";
const API: &str = "--api=/ip4/127.0.0.1/tcp/5001";

/// The user's Kubo: on the cluster's private network, with no peer until it is given one.
#[derive(Debug)]
pub struct Visitor {
    namespace: Namespace,
}

impl Visitor {
    /// Starts a fresh one. `ingress` is the address that `pins.anchorage.test` has for it.
    ///
    /// # Errors
    /// When it is not ready after two minutes.
    pub fn arrive(namespace: &Namespace, ingress: &str) -> Result<Self> {
        let manifest =
            std::fs::read_to_string(namespace.lab.path("e2e/manifests/visitor.yaml")).context("read visitor.yaml")?;
        namespace.kubectl(["delete", "pod", "visitor", "--ignore-not-found"]).run()?;
        namespace.apply(manifest.replace("INGRESS", ingress))?;
        namespace.condition("pod/visitor", "Ready", "True", Duration::from_mins(2))?;
        Ok(Self { namespace: namespace.clone() })
    }

    /// Removes it.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub fn leave(self) -> Result<()> {
        self.namespace.kubectl(["delete", "pod/visitor", "configmap/visitor", "--ignore-not-found"]).run().map(drop)
    }

    /// `ipfs ARGUMENTS` on the visitor's Kubo.
    pub fn ipfs<'a>(&'a self, arguments: impl IntoIterator<Item = &'a str>) -> Program {
        self.namespace.exec("visitor", "kubo", ["ipfs", API]).args(arguments)
    }

    /// Adds a file to the visitor's Kubo and gives its CID.
    ///
    /// # Errors
    /// When Kubo refuses it.
    pub fn add(&self, content: &str) -> Result<String> {
        self.ipfs(["add", "--quieter", "--cid-version=1"]).input(content).run()
    }

    /// The CID that a file will have once it is added.
    ///
    /// # Errors
    /// When Kubo does not answer.
    pub fn foresee(&self, content: &str) -> Result<String> {
        self.ipfs(["add", "--quieter", "--cid-version=1", "--only-hash"]).input(content).run()
    }

    /// How many peers the visitor's Kubo is connected to.
    ///
    /// # Errors
    /// When Kubo does not answer.
    pub fn peers(&self) -> Result<usize> {
        Ok(self.ipfs(["swarm", "peers"]).run()?.lines().count())
    }

    /// Makes `token` the one that the client sends, in place of any before.
    ///
    /// # Errors
    /// When the client refuses the service.
    pub fn sign_in(&self, token: &str) -> Result<()> {
        if self.ipfs(["pin", "remote", "service", "ls"]).run()?.contains(SERVICE) {
            self.ipfs(["pin", "remote", "service", "rm", SERVICE]).run()?;
        }
        let endpoint = "http://pins.anchorage.test";
        // kube-proxy and Traefik learn of a ready pinner a moment after the API server does.
        self.ipfs(["pin", "remote", "service", "add", SERVICE, endpoint, token]).run()?;
        wait::until("the API behind the Ingress", Duration::from_secs(30), || self.pins("pinned").map(drop))
    }

    /// `ipfs pin remote add`: gives the client's words once the pin is `pinned`.
    ///
    /// # Errors
    /// When the client reports a failure, or waits for more than two minutes.
    pub fn pin(&self, cid: &str, name: &str) -> Result<String> {
        let service = format!("--service={SERVICE}");
        let name = format!("--name={name}");
        let said = self.ipfs(["--timeout=120s", "pin", "remote", "add", &service, &name, cid]).run()?;
        ensure!(said.contains("pinned") && said.contains(cid), "ipfs pin remote add says: {said}");
        Ok(said)
    }

    /// `ipfs pin remote add --background`: returns as soon as the service has accepted the pin.
    ///
    /// # Errors
    /// When the service does not.
    pub fn pin_in_background(&self, cid: &str, name: &str) -> Result<()> {
        let service = format!("--service={SERVICE}");
        let name = format!("--name={name}");
        self.ipfs(["--timeout=60s", "pin", "remote", "add", "--background", &service, &name, cid]).run().map(drop)
    }

    /// Adds so many small files, pins each in the background, and gives their CIDs.
    ///
    /// # Errors
    /// When Kubo refuses one, or the service does not accept it.
    pub fn pin_many(&self, name: &str, count: usize) -> Result<Vec<String>> {
        // One command for all of them: starting each in the pod would take most of the time.
        let script = format!(
            r#"for number in $(seq {count}); do
              cid=$(echo "{name} $number" | ipfs {API} add --quieter --cid-version=1) || exit 1
              ipfs {API} --timeout=60s pin remote add --background --service={SERVICE} "--name={name}" "$cid" >/dev/null || exit 1
              echo "$cid"
            done"#
        );
        let cids = self.namespace.exec("visitor", "kubo", ["sh", "-c", &script]).run()?;
        let cids: Vec<_> = cids.lines().map(str::to_owned).collect();
        ensure!(cids.len() == count, "{} of {count} files were pinned", cids.len());
        Ok(cids)
    }

    /// Waits until the service lists each of `cids` as pinned.
    ///
    /// # Errors
    /// When some are not after `limit`.
    pub fn all_pinned(&self, cids: &[String], limit: Duration) -> Result<()> {
        wait::until("every accepted pin to be pinned", limit, || {
            let pinned = self.pins("pinned")?;
            let missing = cids.iter().filter(|cid| !pinned.contains(cid)).count();
            ensure!(missing == 0, "{missing} of {} are not pinned yet", cids.len());
            Ok(())
        })
    }

    /// The CIDs that the service lists with `status`, as `ipfs pin remote ls` finds them.
    ///
    /// # Errors
    /// When the service does not answer or refuses.
    pub fn pins(&self, status: &str) -> Result<Vec<String>> {
        let service = format!("--service={SERVICE}");
        let status = format!("--status={status}");
        let list = self.ipfs(["--timeout=60s", "pin", "remote", "ls", &service, &status]).run()?;
        Ok(list.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Whether the visitor can open a TCP connection.
    ///
    /// # Errors
    /// When the pod cannot run the attempt at all.
    pub fn can_connect(&self, address: &str, port: u16) -> Result<bool> {
        let attempt = format!("timeout 3 nc {address} {port} </dev/null >/dev/null 2>&1 && echo open || echo closed");
        let answer = self.namespace.exec("visitor", "kubo", ["sh", "-c", &attempt]).run()?;
        Ok(answer == "open")
    }
}
