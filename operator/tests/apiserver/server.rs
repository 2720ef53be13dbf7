//! One kube-apiserver and one etcd for all tests of this program, as child processes that end with it.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kube::config::AuthInfo;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

const ADMIN_TOKEN: &str = "administrator-of-the-test-server";

/// A running API server.
pub(crate) struct Server {
    url: String,
    // Their standard input is what keeps both alive: see `keep`.
    _etcd: Child,
    apiserver: Child,
}

/// The server, started by the first test that asks.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Result<Server, String>> = OnceLock::new();
    SERVER.get_or_init(Server::start).as_ref().unwrap_or_else(|error| panic!("{error}"))
}

/// The path of a program that `make tools` provides.
pub(crate) fn tool(name: &str) -> PathBuf {
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

impl Server {
    fn start() -> Result<Self, String> {
        remove_leftovers(Path::new(env!("CARGO_TARGET_TMPDIR")));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("apiserver-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        std::fs::write(path("tokens.csv"), format!("{ADMIN_TOKEN},administrator,1,system:masters\n")).unwrap();
        let (private_key, public_key) = service_account_keys();
        std::fs::write(path("service-accounts.pem"), private_key).unwrap();
        std::fs::write(path("service-accounts.pub"), public_key).unwrap();
        let (etcd_url, peer_url) = (loopback(), loopback());
        let etcd = keep(
            &folder.join("etcd.log"),
            Command::new(tool("etcd")).args([
                "--data-dir",
                &path("etcd"),
                "--listen-client-urls",
                &etcd_url,
                "--advertise-client-urls",
                &etcd_url,
                "--listen-peer-urls",
                &peer_url,
                "--unsafe-no-fsync",
            ]),
        );
        let url = loopback().replace("http:", "https:");
        let port = url.rsplit(':').next().unwrap();
        let apiserver = keep(
            &folder.join("apiserver.log"),
            Command::new(tool("kube-apiserver")).args([
                "--bind-address=127.0.0.1",
                &format!("--secure-port={port}"),
                &format!("--etcd-servers={etcd_url}"),
                &format!("--cert-dir={}", path("certificates")),
                &format!("--token-auth-file={}", path("tokens.csv")),
                "--authorization-mode=RBAC",
                "--service-cluster-ip-range=10.0.0.0/20",
                "--service-account-issuer=https://tests.invalid",
                &format!("--service-account-key-file={}", path("service-accounts.pub")),
                &format!("--service-account-signing-key-file={}", path("service-accounts.pem")),
                // No controller manager makes the default ServiceAccount that this plugin asks for.
                "--disable-admission-plugins=ServiceAccount",
            ]),
        );
        let mut server = Self { url, _etcd: etcd, apiserver };
        server.wait_until_ready(&folder.join("apiserver.log"))?;
        Ok(server)
    }

    fn wait_until_ready(&mut self, log: &Path) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !self.kubectl().args(["get", "--raw", "/readyz"]).output().unwrap().status.success() {
            let ended = self.apiserver.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                return Err(format!("kube-apiserver does not get ready; see {}", log.display()));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// A client of the administrator.
    pub(crate) fn client(&self) -> kube::Client {
        self.client_as(None)
    }

    /// A client with the permissions of a ServiceAccount, `namespace:name`.
    pub(crate) fn client_of_service_account(&self, namespace: &str, name: &str) -> kube::Client {
        self.client_as(Some(format!("system:serviceaccount:{namespace}:{name}")))
    }

    fn client_as(&self, user: Option<String>) -> kube::Client {
        // Whoever comes first installs it; all want the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = kube::Config::new(self.url.parse().unwrap());
        config.accept_invalid_certs = true;
        config.default_retry = false;
        config.auth_info =
            AuthInfo { token: Some(ADMIN_TOKEN.to_owned().into()), impersonate: user, ..AuthInfo::default() };
        kube::Client::try_from(config).unwrap()
    }

    /// `kubectl` of the administrator.
    pub(crate) fn kubectl(&self) -> Command {
        let mut kubectl = Command::new(tool("kubectl"));
        kubectl.env_remove("KUBECONFIG").args([
            "--server",
            &self.url,
            "--token",
            ADMIN_TOKEN,
            "--insecure-skip-tls-verify",
        ]);
        kubectl
    }

    /// `kubectl apply` of text; standard error on failure.
    pub(crate) fn apply(&self, arguments: &[&str], yaml: &str) -> Result<(), String> {
        let mut child = self
            .kubectl()
            .args(["apply", "-f", "-"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(yaml.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8(output.stderr).unwrap()) }
    }
}

/// Starts a program that ends when this process does, however that ends: beside it a shell waits for the end of its
/// standard input, which is a pipe that only this process holds.
fn keep(log: &Path, command: &Command) -> Child {
    let log = std::fs::File::create(log).unwrap();
    Command::new("sh")
        .args(["-c", r#"exec 3<&0; (read -r _ <&3; kill $$) & exec "$@" </dev/null 3<&-"#, "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Removes the folders of test programs that have ended.
fn remove_leftovers(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let Some(process) = name.strip_prefix("apiserver-") else { continue };
        if !Path::new("/proc").join(process).exists() {
            // Whatever cannot be removed now is in nobody's way.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// An address that was free a moment ago.
fn loopback() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// New keys, private and public, for ServiceAccount tokens. No test uses any, but the API server asks for them.
fn service_account_keys() -> (String, String) {
    /// What comes before the point in the encoding of a P-256 public key.
    const PUBLIC_KEY_HEADER: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let pem = |label: &str, key: &[u8]| {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(key))
    };
    let (algorithm, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
    let private = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref(), &random).unwrap();
    let public = [&PUBLIC_KEY_HEADER, pair.public_key().as_ref()].concat();
    (pem("PRIVATE KEY", private.as_ref()), pem("PUBLIC KEY", &public))
}
