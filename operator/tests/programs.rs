//! What the operator writes for other programs is understood by the programs themselves.

#![expect(clippy::unwrap_used, reason = "what stops a test has failed it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anchorage_operator::cluster::validate::{Cluster, validate};
use anchorage_operator::crd::anchorage_cluster::ManagedNats;
use anchorage_operator::resources::{kubo_config, nats};
use anchorage_operator::secrets::{Secrets, Text};
use serde_json::{Value, json};

fn tool(name: &str) -> PathBuf {
    let cache = || {
        let home = std::env::var_os("HOME").expect("HOME is set");
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| PathBuf::from(home).join(".cache"), PathBuf::from)
    };
    let folder =
        std::env::var_os("ANCHORAGE_TOOLS_DIR").map_or_else(|| cache().join("anchorage/tools/bin"), PathBuf::from);
    let path = folder.join(name);
    assert!(path.exists(), "{name} is not in {}. Run `make tools`", folder.display());
    path
}

/// A folder of this test's own, empty.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn nats_accepts_its_configuration() {
    let folder = folder("nats");
    for replicas in [1, 3] {
        let managed: ManagedNats =
            serde_json::from_value(json!({ "replicas": replicas, "storage": { "size": "1Gi" } })).unwrap();
        let config = nats::server_config("demo", &managed, &Text::new("0123456789abcdef"));
        let path = folder.join(format!("{replicas}.conf"));
        std::fs::write(&path, config.expose()).unwrap();
        let output =
            Command::new(tool("nats-server")).env("POD_NAME", "demo-nats-0").arg("-t").arg("-c").arg(&path).output();
        succeeded(&output.unwrap());
    }
    std::fs::remove_dir_all(folder).unwrap();
}

fn cluster(network: &str) -> Cluster {
    let object = json!({
        "apiVersion": "anchorage.dev/v1alpha1", "kind": "AnchorageCluster",
        "metadata": { "name": "demo", "namespace": "pins", "uid": "1" },
        "spec": {
            "nodes": 1,
            "kubo": { "network": network, "storage": { "size": "1Gi" }, "configPatch": { "Swarm.ConnMgr.HighWater": 200 } },
            "postgres": { "managed": { "storage": { "size": "1Gi" } } },
            "nats": { "managed": { "storage": { "size": "1Gi" } } },
        },
    });
    validate(&serde_json::from_value(object).unwrap(), &Secrets::default(), "image").unwrap()
}

/// A Kubo repository, and what is done to it before each start.
struct Repository {
    folder: PathBuf,
}

impl Repository {
    fn ipfs(&self, arguments: &[&str]) -> String {
        let output = Command::new(tool("ipfs"))
            .env("IPFS_PATH", &self.folder)
            .env("IPFS_TELEMETRY", "off")
            .args(arguments)
            .output();
        succeeded(&output.unwrap())
    }

    fn run_script(&self, cluster: &Cluster) {
        let key = self.folder.join("key-of-the-test");
        std::fs::write(&key, format!("/key/swarm/psk/1.0.0/\n/base16/\n{}\n", "ab".repeat(32))).unwrap();
        let script = kubo_config::script(cluster).replace("/etc/anchorage/swarm-key/swarm.key", key.to_str().unwrap());
        let tools = tool("ipfs");
        let path = format!("{}:{}", tools.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let output = Command::new("sh")
            .args(["-c", &script])
            .env("PATH", path)
            .env("IPFS_PATH", &self.folder)
            .env("IPFS_TELEMETRY", "off")
            .env("ANCHORAGE_STORAGE_MAX", "900000000B")
            .output();
        succeeded(&output.unwrap());
    }

    fn config(&self) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.folder.join("config")).unwrap()).unwrap()
    }
}

#[test]
fn kubo_follows_its_start_up_script_from_public_to_private_and_back() {
    let repository = Repository { folder: folder("kubo") };
    repository.ipfs(&["init", "--empty-repo"]);
    let fresh = repository.config();
    let identity = fresh["Identity"].clone();

    repository.run_script(&cluster("Private"));
    let private = repository.config();
    assert_eq!(private["Addresses"]["API"], "/ip4/127.0.0.1/tcp/5001");
    assert_eq!(private["Addresses"]["Gateway"], json!([]));
    assert_eq!(private["Bootstrap"], json!([]));
    assert_eq!(private["Routing"]["Type"], "none");
    assert_eq!(private["AutoConf"]["Enabled"], false);
    assert_eq!(private["Discovery"]["MDNS"]["Enabled"], false);
    assert_eq!(private["Datastore"]["StorageMax"], "900000000B");
    assert_eq!(private["Internal"]["ShutdownTimeout"], "60s");
    assert_eq!(private["Swarm"]["ConnMgr"]["HighWater"], 200);
    assert!(!private.to_string().contains("\"auto\""), "nothing is left to be looked up: {private}");
    assert!(repository.folder.join("swarm.key").exists());
    // A second start, and the key in place can be written again although it is read-only.
    repository.run_script(&cluster("Private"));
    assert_eq!(repository.config(), private);

    repository.run_script(&cluster("Public"));
    let public = repository.config();
    assert!(!repository.folder.join("swarm.key").exists());
    for key in ["Bootstrap", "DNS", "Ipns", "Routing"] {
        assert_eq!(
            public[key].to_string().contains("auto"),
            fresh[key].to_string().contains("auto"),
            "{key}: {}",
            public[key]
        );
    }
    assert_eq!(public["Identity"], identity);
    // The repository is still one that Kubo opens.
    repository.ipfs(&["repo", "stat", "--size-only"]);
    std::fs::remove_dir_all(&repository.folder).unwrap();
}
