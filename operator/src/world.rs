//! What the operator knows of its namespace: one watch per kind, kept in memory, so that reconciling reads no list.
//!
//! Each watch has its own back-off, so that one broken kind does not slow the others down, and reports its health.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use futures::{Stream, StreamExt, TryStreamExt};
use kube::api::Api;
use kube::core::DynamicObject;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::crd::{AnchorageCluster, PinNode};
use crate::health::WatchHealth;
use crate::kind::{Kind, OPTIONAL, WATCHED};
use crate::names;
use crate::views::{KubernetesNode, PodView};

/// The memory of all watches.
pub struct World {
    /// The namespace that is watched.
    pub namespace: String,
    /// Its clusters.
    pub clusters: Store<AnchorageCluster>,
    /// Its PinNodes.
    pub pin_nodes: Store<PinNode>,
    /// Pods that belong to clusters.
    pub pods: Store<PodView>,
    /// Kubernetes Nodes, where reading them is allowed.
    pub kubernetes_nodes: Option<Store<KubernetesNode>>,
    children: RwLock<BTreeMap<Kind, Store<DynamicObject>>>,
}

/// Something changed; the objects that may care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// A cluster itself.
    Cluster(String),
    /// A PinNode itself, and so its cluster.
    PinNode {
        /// The PinNode.
        name: String,
        /// Its cluster.
        cluster: String,
    },
    /// An object or pod of a cluster, and of one of its PinNodes where `node` is set.
    Child {
        /// The cluster.
        cluster: String,
        /// The PinNode.
        node: Option<String>,
        /// What kind of object, if it is one that the operator owns.
        kind: Option<Kind>,
    },
    /// A Kubernetes Node.
    KubernetesNode(String),
}

/// The watches of a [`World`], as streams of what they touch. Polling them keeps the world up to date.
pub type Watches = futures::stream::SelectAll<futures::stream::BoxStream<'static, Touched>>;

/// How a world is to be watched.
#[derive(Clone)]
pub struct Eyes {
    /// Reads the API server.
    pub client: Client,
    /// The one namespace.
    pub namespace: String,
    /// Whether Kubernetes Nodes may be read.
    pub node_access: bool,
    /// Told how every watch fares.
    pub health: Arc<WatchHealth>,
}

impl World {
    /// Prepares a world and the watches that fill it.
    pub fn new(eyes: &Eyes) -> (Arc<Self>, Watches) {
        let ours = watcher::Config::default().labels(&format!("{}={}", names::MANAGED_BY_LABEL, names::MANAGED_BY));
        let mut watches = Watches::new();
        let (clusters, watch) =
            eyes.watch("AnchorageCluster", eyes.api(), watcher::Config::default(), Writer::default());
        watches.push(watch.map(|cluster: AnchorageCluster| Touched::Cluster(cluster.name_any())).boxed());
        let (pin_nodes, watch) = eyes.watch("PinNode", eyes.api(), watcher::Config::default(), Writer::default());
        watches.push(watch.map(touched_pin_node).boxed());
        let (pods, watch) = eyes.watch("Pod", eyes.api(), ours.clone(), Writer::default());
        watches.push(watch.filter_map(|pod: PodView| std::future::ready(touched_child(&pod, None))).boxed());
        let kubernetes_nodes = eyes.node_access.then(|| {
            let (nodes, watch) =
                eyes.watch("Node", Api::all(eyes.client.clone()), watcher::Config::default(), Writer::default());
            watches.push(watch.map(|node: KubernetesNode| Touched::KubernetesNode(node.name_any())).boxed());
            nodes
        });
        let world = Arc::new(Self {
            namespace: eyes.namespace.clone(),
            clusters,
            pin_nodes,
            pods,
            kubernetes_nodes,
            children: RwLock::default(),
        });
        for kind in WATCHED {
            watches.push(world.watch_children(eyes, kind));
        }
        (world, watches)
    }

    /// Begins to watch owned objects of one kind.
    pub fn watch_children(&self, eyes: &Eyes, kind: Kind) -> futures::stream::BoxStream<'static, Touched> {
        let api = kind.api();
        let ours = watcher::Config::default().labels(&format!("{}={}", names::MANAGED_BY_LABEL, names::MANAGED_BY));
        let objects = Api::namespaced_with(eyes.client.clone(), &eyes.namespace, &api);
        let (store, watch) = eyes.watch(kind.as_str(), objects, ours, Writer::new(api));
        self.children.write().expect("nothing panics while it holds this lock").insert(kind, store);
        watch.filter_map(move |object: DynamicObject| std::future::ready(touched_child(&object, Some(kind)))).boxed()
    }

    /// Stops looking at a kind that is not served any more.
    pub fn forget_children(&self, kind: Kind) {
        self.children.write().expect("nothing panics while it holds this lock").remove(&kind);
    }

    /// Waits until every watch has been heard of once.
    pub async fn wait_until_complete(&self) {
        // A store ends early only when its watch is dropped, which is at the end of the process.
        let _ = self.clusters.wait_until_ready().await;
        let _ = self.pin_nodes.wait_until_ready().await;
        let _ = self.pods.wait_until_ready().await;
        if let Some(nodes) = &self.kubernetes_nodes {
            let _ = nodes.wait_until_ready().await;
        }
        for kind in WATCHED {
            if let Some(store) = self.store(kind) {
                let _ = store.wait_until_ready().await;
            }
        }
    }

    /// The cluster `name`.
    #[must_use]
    pub fn cluster(&self, name: &str) -> Option<Arc<AnchorageCluster>> {
        self.clusters.get(&ObjectRef::new(name).within(&self.namespace))
    }

    /// The PinNodes of a cluster, by name.
    #[must_use]
    pub fn pin_nodes_of(&self, cluster: &str) -> BTreeMap<String, Arc<PinNode>> {
        self.pin_nodes
            .state_filter(|node: &PinNode| node.spec.cluster_name == cluster)
            .into_iter()
            .map(|node| (node.name_any(), node))
            .collect()
    }

    /// The pod of a PinNode.
    #[must_use]
    pub fn pod_of(&self, pin_node: &str) -> Option<Arc<PodView>> {
        self.pods.get(&ObjectRef::new(&format!("{pin_node}-0")).within(&self.namespace))
    }

    /// Pods of one component of a cluster.
    #[must_use]
    pub fn pods_of(&self, cluster: &str, component: names::Component) -> Vec<Arc<PodView>> {
        self.pods.state_filter(|pod: &PodView| {
            pod.label(names::CLUSTER_LABEL) == Some(cluster)
                && pod.label("app.kubernetes.io/component") == Some(component.as_str())
        })
    }

    /// An owned object.
    #[must_use]
    pub fn child(&self, kind: Kind, name: &str) -> Option<Arc<DynamicObject>> {
        self.store(kind)?.get(&ObjectRef::new_with(name, kind.api()).within(&self.namespace))
    }

    /// All objects of a cluster, of all watched kinds.
    #[must_use]
    pub fn children_of(&self, cluster: &str) -> BTreeMap<(Kind, String), Arc<DynamicObject>> {
        let is_ours =
            |object: &DynamicObject| object.labels().get(names::CLUSTER_LABEL).is_some_and(|of| of == cluster);
        let kinds = WATCHED.into_iter().chain(OPTIONAL);
        kinds
            .filter_map(|kind| Some((kind, self.store(kind)?)))
            .flat_map(|(kind, store)| store.state_filter(is_ours).into_iter().map(move |object| (kind, object)))
            .map(|(kind, object)| ((kind, object.name_any()), object))
            .collect()
    }

    /// A Kubernetes Node, where reading Nodes is allowed.
    #[must_use]
    pub fn kubernetes_node(&self, name: &str) -> Option<Arc<KubernetesNode>> {
        self.kubernetes_nodes.as_ref()?.get(&ObjectRef::new(name))
    }

    fn store(&self, kind: Kind) -> Option<Store<DynamicObject>> {
        self.children.read().expect("nothing panics while it holds this lock").get(&kind).cloned()
    }
}

impl Eyes {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn watch<K>(
        &self,
        kind: &'static str,
        api: Api<K>,
        config: watcher::Config,
        writer: Writer<K>,
    ) -> (Store<K>, impl Stream<Item = K> + Send + use<K>)
    where
        K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Eq + std::hash::Hash + Clone + Send + Sync,
    {
        let store = writer.as_reader();
        let health = self.health.clone();
        health.begin(kind);
        let touched = watcher(api, config)
            .default_backoff()
            .modify(|object: &mut K| object.meta_mut().managed_fields = None)
            .inspect_ok({
                let health = health.clone();
                move |_| health.well(kind)
            })
            .inspect_err(move |error| health.ill(kind, error))
            .reflect(writer)
            .touched_objects()
            .filter_map(|object| std::future::ready(object.ok()));
        (store, touched)
    }
}

fn touched_pin_node(node: PinNode) -> Touched {
    Touched::PinNode { name: node.name_any(), cluster: node.spec.cluster_name }
}

fn touched_child<K: Resource>(object: &K, kind: Option<Kind>) -> Option<Touched> {
    let labels = object.meta().labels.as_ref()?;
    let cluster = labels.get(names::CLUSTER_LABEL)?.clone();
    Some(Touched::Child { cluster, node: labels.get(names::NODE_LABEL).cloned(), kind })
}
