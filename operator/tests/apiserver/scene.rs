//! A namespace with an operator in it, and the hands of everything that is not there: kubelet, controllers, users.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anchorage_operator::health::WatchHealth;
use anchorage_operator::kind::Kind;
use anchorage_operator::metrics::{Controller, Metrics};
use anchorage_operator::run::{self, Scope};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::fake_pinner::FakePinner;
use crate::server::server;
use crate::{chart, definitions};

const PATIENCE: Duration = Duration::from_secs(30);

/// A namespace of its own, with the chart installed and a cluster's pinners played.
pub(crate) struct Scene {
    pub(crate) namespace: String,
    pub(crate) client: Client,
    pub(crate) pinner: FakePinner,
    admin_url: String,
}

/// An operator that runs in this process.
pub(crate) struct Operator {
    pub(crate) metrics: Arc<Metrics>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Scene {
    /// Makes the namespace, where only pods that pass Pod Security `restricted` are admitted.
    pub(crate) async fn set(namespace: &str) -> Self {
        let blocking = namespace.to_owned();
        let client = server().client();
        tokio::task::spawn_blocking(definitions::installed).await.unwrap();
        let labels = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
        let object: Namespace =
            serde_json::from_value(json!({ "metadata": { "name": namespace, "labels": labels } })).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
        tokio::task::spawn_blocking(move || chart::install(&blocking)).await.unwrap();
        let (pinner, admin_url) = FakePinner::start().await;
        Self { namespace: namespace.to_owned(), client, pinner, admin_url }
    }

    /// Starts an operator with the permissions that the chart gives.
    pub(crate) fn operator(&self) -> Operator {
        let client = server().client_of_service_account(&self.namespace, "anchorage-operator");
        let scope = Scope {
            namespace: self.namespace.clone(),
            default_image: "anchorage/anchorage:test".to_owned(),
            node_access: true,
            // The pinners of all clusters of a scene are the same.
            admin_url: self.admin_url.clone(),
            discovery_every: Duration::from_millis(300),
        };
        let (metrics, stop) = (Arc::new(Metrics::new()), CancellationToken::new());
        let running = run::run(client, scope, metrics.clone(), Arc::new(WatchHealth::default()), stop.clone());
        let task = tokio::spawn(async move { running.await.unwrap() });
        Operator { metrics, stop, task }
    }

    /// Objects of one kind.
    pub(crate) fn api(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.api())
    }

    /// AnchorageClusters.
    pub(crate) fn clusters(&self) -> Api<anchorage_operator::crd::AnchorageCluster> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// PinNodes.
    pub(crate) fn pin_nodes(&self) -> Api<anchorage_operator::crd::PinNode> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Pods.
    pub(crate) fn pods(&self) -> Api<k8s_openapi::api::core::v1::Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A user applies a cluster called `demo` with this spec.
    pub(crate) async fn apply_cluster(&self, spec: Value) {
        let object = json!({
            "apiVersion": "anchorage.dev/v1alpha1", "kind": "AnchorageCluster",
            "metadata": { "name": "demo" }, "spec": spec,
        });
        self.clusters().patch("demo", &PatchParams::apply("user").force(), &Patch::Apply(object)).await.unwrap();
    }

    /// A user scales the cluster `demo`, as `kubectl scale` does.
    pub(crate) async fn scale(&self, nodes: usize) {
        let patch = json!({ "spec": { "replicas": nodes } });
        self.clusters().patch_scale("demo", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// A user annotates a PinNode; null takes the annotation away.
    pub(crate) async fn annotate(&self, pin_node: &str, key: &str, value: Value) {
        let patch = json!({ "metadata": { "annotations": { key: value } } });
        self.pin_nodes().patch(pin_node, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// A user annotates the cluster `demo`; null takes the annotation away.
    pub(crate) async fn annotate_cluster(&self, key: &str, value: Value) {
        let patch = json!({ "metadata": { "annotations": { key: value } } });
        self.clusters().patch("demo", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Events about objects of the namespace: type, reason and note.
    pub(crate) async fn events(&self) -> Vec<(String, String, String)> {
        let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let told = events.list(&ListParams::default()).await.unwrap().into_iter();
        told.map(|event| {
            (event.type_.unwrap_or_default(), event.reason.unwrap_or_default(), event.note.unwrap_or_default())
        })
        .collect()
    }

    /// Names of the objects of one kind.
    pub(crate) async fn names(&self, kind: Kind) -> BTreeSet<String> {
        self.api(kind).list(&ListParams::default()).await.unwrap().iter().map(ResourceExt::name_any).collect()
    }

    /// An object, as soon as it is there.
    pub(crate) async fn object(&self, kind: Kind, name: &str) -> DynamicObject {
        let api = self.api(kind);
        until(&format!("{} {name}", kind.as_str()), async || match api.get(name).await {
            // Either the object or its whole kind is not there yet.
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            found => Some(found.unwrap()),
        })
        .await
    }

    /// Plays the StatefulSet controller and the kubelet: all replicas of a StatefulSet are there and ready.
    pub(crate) async fn make_ready(&self, name: &str) {
        let object = self.object(Kind::StatefulSet, name).await;
        let replicas = object.data["spec"]["replicas"].as_i64().unwrap();
        self.set_status(Kind::StatefulSet, name, json!({
            "observedGeneration": object.metadata.generation, "replicas": replicas, "readyReplicas": replicas,
            "updatedReplicas": replicas, "availableReplicas": replicas, "currentRevision": "1", "updateRevision": "1",
        }))
        .await;
    }

    /// Plays the Job controller: the Job has succeeded.
    pub(crate) async fn complete(&self, job: &str) {
        let now = "2026-01-01T00:00:00Z";
        self.set_status(
            Kind::Job,
            job,
            json!({
                "startTime": now, "completionTime": now, "succeeded": 1,
                "conditions": [
                    { "type": "SuccessCriteriaMet", "status": "True", "lastProbeTime": now, "lastTransitionTime": now },
                    { "type": "Complete", "status": "True", "lastProbeTime": now, "lastTransitionTime": now },
                ],
            }),
        )
        .await;
    }

    /// Plays the StatefulSet controller and the kubelet for one PinNode: makes its pod from the template, which must pass
    /// Pod Security, with `status`.
    pub(crate) async fn make_pod(&self, pin_node: &str, status: Value) {
        let set = self.object(Kind::StatefulSet, pin_node).await;
        let template = &set.data["spec"]["template"];
        let name = format!("{pin_node}-0");
        let mut spec = template["spec"].clone();
        let data = json!({ "name": "data", "persistentVolumeClaim": { "claimName": format!("data-{name}") } });
        spec["volumes"].as_array_mut().unwrap().push(data);
        let mut pod = json!({ "metadata": template["metadata"], "spec": spec });
        pod["metadata"]["name"] = json!(name);
        let pod = serde_json::from_value(pod).unwrap();
        self.pods().create(&PostParams::default(), &pod).await.unwrap();
        self.set_pod_status(&name, status).await;
    }

    /// Asks whether pods of this template would be admitted here.
    pub(crate) async fn admits(&self, kind: Kind, name: &str) {
        let object = self.object(kind, name).await;
        let template = &object.data["spec"]["template"];
        let mut pod = json!({ "metadata": template["metadata"], "spec": template["spec"] });
        pod["metadata"]["name"] = json!(format!("{name}-trial"));
        // Claims of a StatefulSet are added by its controller.
        for container in ["containers", "initContainers"] {
            for container in pod["spec"][container].as_array_mut().into_iter().flatten() {
                container["volumeMounts"].as_array_mut().unwrap().retain(|mount| mount["name"] != "data");
            }
        }
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        self.pods().create(&dry_run, &serde_json::from_value(pod).unwrap()).await.unwrap();
    }

    /// Plays the kubelet.
    pub(crate) async fn set_pod_status(&self, pod: &str, status: Value) {
        let patch = json!({ "status": status });
        self.pods().patch_status(pod, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    async fn set_status(&self, kind: Kind, name: &str, status: Value) {
        let patch = json!({ "status": status });
        self.api(kind).patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Brings a cluster `demo` to Ready, playing everybody that has a part in it.
    pub(crate) async fn bring_up(&self, nodes: usize) {
        self.make_ready("demo-nats").await;
        self.make_ready("demo-postgres").await;
        self.complete(&self.migration().await).await;
        for index in 0..nodes {
            self.bring_up_node(&format!("demo-{index}")).await;
        }
        self.cluster_condition("Ready", "True", "Ready").await;
    }

    /// Brings one PinNode to Ready.
    pub(crate) async fn bring_up_node(&self, name: &str) {
        self.pinner.register(name);
        self.make_pod(name, ready_pod()).await;
        self.make_ready(name).await;
        self.node_condition(name, "Ready", "True", "Ready").await;
    }

    /// The name of the migration, once it is there.
    pub(crate) async fn migration(&self) -> String {
        until("a migration Job", async || self.names(Kind::Job).await.pop_first()).await
    }

    /// The message of a condition of the cluster `demo`, once it is as said.
    pub(crate) async fn cluster_condition(&self, type_: &str, status: &str, reason: &str) -> String {
        let api = self.clusters();
        let wanted = format!("{type_}={status} {reason} of anc/demo");
        until(&wanted, async || {
            let object = api.get("demo").await.unwrap();
            find(object.status?.conditions, object.metadata.generation, type_, status, reason)
        })
        .await
    }

    /// The message of a condition of a PinNode, once it is as said.
    pub(crate) async fn node_condition(&self, name: &str, type_: &str, status: &str, reason: &str) -> String {
        let api = self.pin_nodes();
        let wanted = format!("{type_}={status} {reason} of pn/{name}");
        until(&wanted, async || {
            let object = api.get_opt(name).await.unwrap()?;
            find(object.status?.conditions, object.metadata.generation, type_, status, reason)
        })
        .await
    }

    /// Deletes the namespace, as far as that is possible without a controller manager.
    pub(crate) async fn strike(self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
    }
}

impl Operator {
    /// Ends it as SIGTERM does and waits for its end.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// Kills it in the middle of whatever it does.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    /// Waits until it has looked at clusters and PinNodes at least so often.
    pub(crate) async fn looked(&self, clusters: u64, pin_nodes: u64) {
        let done = |controller, count| self.metrics.reconciliations(controller) >= count;
        until("reconciliations", async || {
            (done(Controller::Cluster, clusters) && done(Controller::PinNode, pin_nodes)).then_some(())
        })
        .await;
    }
}

/// The status of a pod with a running Kubo and a ready pinner.
pub(crate) fn ready_pod() -> Value {
    let container = |name: &str| {
        json!({
            "name": name, "image": name, "imageID": "", "ready": true, "started": true, "restartCount": 0,
            "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
        })
    };
    json!({
        "phase": "Running",
        "conditions": [{ "type": "PodScheduled", "status": "True" }, { "type": "Ready", "status": "True" }],
        "initContainerStatuses": [container("kubo")],
        "containerStatuses": [container("anchorage")],
    })
}

fn find(
    conditions: Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition>,
    generation: Option<i64>,
    type_: &str,
    status: &str,
    reason: &str,
) -> Option<String> {
    let found = conditions.into_iter().find(|condition| condition.type_ == type_)?;
    let is_so = found.status == status && found.reason == reason && found.observed_generation == generation;
    is_so.then_some(found.message)
}

/// What `look` returns, as soon as it returns something.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(tokio::time::Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
