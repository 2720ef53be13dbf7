//! Who is to be looked at again when something changed.
//!
//! Nothing is filtered by generation: a drain is asked for by an annotation, which changes none. The one filter here is
//! for changes of a cluster's status, which do not concern its PinNodes.

use std::collections::HashMap;
use std::sync::Arc;

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc::UnboundedSender;

use crate::crd::{AnchorageCluster, PinNode};
use crate::kind::Kind;
use crate::names;
use crate::views::PodView;
use crate::world::{Touched, World};

/// Passes on what the watches touch.
pub struct Triggers {
    world: Arc<World>,
    clusters: UnboundedSender<ObjectRef<AnchorageCluster>>,
    pin_nodes: UnboundedSender<ObjectRef<PinNode>>,
    /// The generation of each cluster that its PinNodes were last woken for.
    generations: HashMap<String, Option<i64>>,
}

impl Triggers {
    /// Triggers that send to the two controllers' queues.
    #[must_use]
    pub fn new(
        world: Arc<World>,
        clusters: UnboundedSender<ObjectRef<AnchorageCluster>>,
        pin_nodes: UnboundedSender<ObjectRef<PinNode>>,
    ) -> Self {
        Self { world, clusters, pin_nodes, generations: HashMap::new() }
    }

    /// Wakes whoever a change concerns.
    pub fn pull(&mut self, touched: &Touched) {
        match touched {
            Touched::Cluster(name) => {
                self.cluster(name);
                if self.is_new_generation(name) {
                    self.pin_nodes_of(name);
                }
            }
            Touched::PinNode { name, cluster } => {
                self.pin_node(name);
                self.cluster(cluster);
            }
            Touched::Child { node: Some(node), .. } => self.pin_node(node),
            Touched::Child { cluster, node: None, kind } => {
                self.cluster(cluster);
                // PinNodes wait for the migration and for Kubo's configuration.
                if matches!(kind, Some(Kind::Job | Kind::ConfigMap)) {
                    self.pin_nodes_of(cluster);
                }
            }
            Touched::KubernetesNode(name) => self.pin_nodes_on(name),
        }
    }

    /// Wakes all clusters.
    pub fn all_clusters(&self) {
        for cluster in self.world.clusters.state() {
            self.cluster(&cluster.name_any());
        }
    }

    fn is_new_generation(&mut self, cluster: &str) -> bool {
        let Some(object) = self.world.cluster(cluster) else {
            self.generations.remove(cluster);
            return true;
        };
        let generation = object.metadata.generation;
        self.generations.insert(cluster.to_owned(), generation) != Some(generation)
    }

    fn pin_nodes_of(&self, cluster: &str) {
        for name in self.world.pin_nodes_of(cluster).keys() {
            self.pin_node(name);
        }
    }

    fn pin_nodes_on(&self, kubernetes_node: &str) {
        let here = |pod: &PodView| pod.spec.node_name.as_deref() == Some(kubernetes_node);
        for pod in self.world.pods.state_filter(here) {
            if let Some(node) = pod.label(names::NODE_LABEL) {
                self.pin_node(node);
            }
        }
        // Those whose pods were there last and are nowhere now.
        let was_here = |node: &PinNode| {
            node.status.as_ref().and_then(|status| status.kubernetes_node.as_deref()) == Some(kubernetes_node)
        };
        for node in self.world.pin_nodes.state_filter(was_here) {
            self.pin_node(&node.name_any());
        }
    }

    // A queue that is closed belongs to a controller that has ended: nobody needs to be woken.

    fn cluster(&self, name: &str) {
        let _ = self.clusters.send(ObjectRef::new(name).within(&self.world.namespace));
    }

    fn pin_node(&self, name: &str) {
        let _ = self.pin_nodes.send(ObjectRef::new(name).within(&self.world.namespace));
    }
}
