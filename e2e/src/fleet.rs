//! The fleet of a cluster: which Kubo holds what, nodes that are drained to the end, more nodes and fewer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::anchorage::{CLUSTER, Cluster, name};
use crate::namespace::{condition, text};
use crate::wait;

/// Recursive pins of every Kubo, by the PinNode's name.
#[derive(Debug)]
pub struct Copies(BTreeMap<String, BTreeSet<String>>);

impl Copies {
    /// The nodes that hold `cid`.
    #[must_use]
    pub fn of(&self, cid: &str) -> Vec<String> {
        self.0.iter().filter(|(_, pins)| pins.contains(cid)).map(|(node, _)| node.clone()).collect()
    }

    /// How many of `cids` are on `node`.
    #[must_use]
    pub fn on(&self, node: &str, cids: &[String]) -> usize {
        self.0.get(node).map_or(0, |pins| cids.iter().filter(|cid| pins.contains(*cid)).count())
    }

    /// The node with most of `cids`.
    ///
    /// # Errors
    /// When there is no node.
    pub fn fullest(&self, cids: &[String]) -> Result<String> {
        let fullest = self.0.keys().max_by_key(|node| self.on(node, cids));
        fullest.cloned().context("the cluster has no pinner")
    }

    /// How many copies of `cids` are there that were not there `before`.
    #[must_use]
    pub fn gained(&self, before: &Self, cids: &[String]) -> usize {
        let none = BTreeSet::new();
        let gained = |(node, pins): (&String, &BTreeSet<String>)| {
            let had = before.0.get(node).unwrap_or(&none);
            cids.iter().filter(|cid| pins.contains(*cid) && !had.contains(*cid)).count()
        };
        self.0.iter().map(gained).sum()
    }

    /// That each of `cids` is held by just `count` nodes.
    ///
    /// # Errors
    /// The first one that is not, and who holds it.
    pub fn exactly(&self, count: usize, cids: &[String]) -> Result<()> {
        let other = cids.iter().find(|cid| self.of(cid).len() != count);
        other.map_or(Ok(()), |cid| bail!("{cid} is on {:?}, not on {count} nodes", self.of(cid)))
    }

    /// That each of `cids` is held by `least` nodes.
    ///
    /// # Errors
    /// The first one that is not, and who holds it.
    pub fn at_least(&self, least: usize, cids: &[String]) -> Result<()> {
        for cid in cids {
            let holders = self.of(cid);
            ensure!(holders.len() >= least, "{cid} is on {holders:?}, fewer than {least}");
        }
        Ok(())
    }
}

impl Cluster {
    /// What every Kubo holds by its own `pin ls`. They are asked one after the other, so nodes that give data away are to be
    /// `first`: what they do not hold any more is seen at those that are asked later. They may be gone, and one that is not
    /// ready yet holds nothing yet.
    ///
    /// # Errors
    /// When another Kubo does not answer.
    pub fn copies(&self, first: &[String]) -> Result<Copies> {
        let mut nodes: Vec<(String, Value)> = self
            .pods()?
            .into_iter()
            .map(|pod| (text(&pod["metadata"]["labels"]["anchorage.dev/node"]).to_owned(), pod))
            .collect();
        nodes.sort_by_key(|(node, _)| !first.contains(node));
        let mut copies = BTreeMap::new();
        for (node, pod) in nodes {
            let command = ["ipfs", "--api=/ip4/127.0.0.1/tcp/5001", "pin", "ls", "--type=recursive", "--quiet"];
            let pins = match self.namespace.exec(name(&pod), "kubo", command).run() {
                Err(_) if first.contains(&node) || !is_ready(&pod) => String::new(),
                pins => pins?,
            };
            copies.insert(node, pins.lines().map(str::to_owned).collect());
        }
        Ok(Copies(copies))
    }

    /// Waits until `done`, and looks all the while whether each of `cids` is on `least` nodes; gives how often that was
    /// looked at. `first` are nodes that give data away.
    ///
    /// # Errors
    /// The first content that is on fewer nodes, or what `done` says at the end of `limit`.
    pub fn safely_until(
        &self,
        what: &str,
        limit: Duration,
        (cids, least, first): (&[String], usize, &[String]),
        mut done: impl FnMut(&Copies) -> Result<()>,
    ) -> Result<u32> {
        let mut looks = 0;
        let outcome = wait::until(what, limit, || {
            // A Kubo that does not answer tells nothing; one that does not hold what it should ends the wait.
            let copies = self.copies(first)?;
            looks += 1;
            if let Err(loss) = copies.at_least(least, cids) {
                return Ok(Err(loss));
            }
            done(&copies).map(Ok)
        })?;
        outcome.map(|()| looks).with_context(|| format!("while waiting for {what}"))
    }

    /// What the status of a node says about its drain, which must be done.
    ///
    /// # Errors
    /// What it waits for.
    pub fn drained(&self, node: &str) -> Result<Value> {
        let found = self.namespace.get(&format!("pinnode/{node}"))?;
        let drained = condition(&found, "Drained").context("no condition Drained yet")?;
        if drained["status"] != "True" {
            bail!("{}: {}", text(&drained["reason"]), text(&drained["message"]));
        }
        Ok(found["status"]["drain"].clone())
    }

    /// `kubectl scale`.
    ///
    /// # Errors
    /// When the API server refuses.
    pub fn scale(&self, nodes: usize) -> Result<()> {
        let replicas = format!("--replicas={nodes}");
        self.namespace.kubectl(["scale", &format!("anchoragecluster/{CLUSTER}"), &replicas]).run().map(drop)
    }

    /// The `count` nodes that the operator has marked as too many.
    ///
    /// # Errors
    /// When not so many are marked within half a minute.
    pub fn leaving(&self, count: usize) -> Result<Vec<String>> {
        wait::until("nodes that are to leave", Duration::from_secs(30), || {
            let nodes = self.nodes()?;
            let marked =
                nodes.iter().filter(|node| node["metadata"]["annotations"]["anchorage.dev/surplus"].is_string());
            let marked: Vec<String> = marked.map(|node| name(node).to_owned()).collect();
            ensure!(marked.len() == count, "{marked:?} carry anchorage.dev/surplus, not {count} PinNodes");
            Ok(marked)
        })
    }
}

fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_on_too_few_nodes_is_told_with_who_holds_it() {
        let pins = |cids: &[&str]| cids.iter().map(|cid| (*cid).to_owned()).collect();
        let copies = Copies(BTreeMap::from([
            ("demo-0".to_owned(), pins(&["a", "b"])),
            ("demo-1".to_owned(), pins(&["a", "c"])),
            ("demo-2".to_owned(), pins(&["a", "b", "d"])),
        ]));
        let cids = |cids: &[&str]| -> Vec<String> { cids.iter().map(|cid| (*cid).to_owned()).collect() };
        assert!(copies.at_least(2, &cids(&["a", "b"])).is_ok());
        let error = copies.at_least(2, &cids(&["a", "c"])).unwrap_err().to_string();
        assert!(error.contains("c is on [\"demo-1\"]"), "{error}");
        assert_eq!(copies.fullest(&cids(&["b", "d"])).unwrap(), "demo-2");
        assert_eq!(copies.on("demo-1", &cids(&["a", "b"])), 1);
        assert!(copies.exactly(2, &cids(&["b"])).is_ok() && copies.exactly(2, &cids(&["a"])).is_err());
        let before = Copies(BTreeMap::from([("demo-0".to_owned(), pins(&["a"])), ("demo-1".to_owned(), pins(&["a"]))]));
        assert_eq!(copies.gained(&before, &cids(&["a", "b"])), 3, "a on demo-2, b on both");
    }
}
