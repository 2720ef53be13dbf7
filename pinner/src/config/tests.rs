//! Each layer, each refusal.

use std::{fs, path::PathBuf, time::Duration};

use super::*;

const SERVE: [(&str, &str); 7] = [
    ("ANCHORAGE_NODE_NAME", "demo-0"),
    ("ANCHORAGE_DATABASE_API_URL", "postgres://anchorage_api:a@db/x"),
    ("ANCHORAGE_DATABASE_WORKER_URL", "postgres://anchorage_worker:b@db/x"),
    ("ANCHORAGE_DATABASE_METRICS_URL", "postgres://anchorage_metrics:c@db/x"),
    ("ANCHORAGE_NATS_URL", "nats://user:pass@a:4222,nats://b:4222"),
    ("ANCHORAGE_TOKENS_ROOT", "root-root-root-root-root-root-root-root"),
    ("ANCHORAGE_ADMIN_TOKEN", "admin-admin-admin-admin-admin-admin"),
];

/// A file of its own for each test; it goes with the value.
struct TestFile(PathBuf);

impl TestFile {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("anchorage-config-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    fn args(&self) -> ConfigArgs {
        ConfigArgs { config: Some(self.0.clone()), ..ConfigArgs::default() }
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(&ConfigArgs::default(), variables(pairs))
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    load(pairs).unwrap_err().to_string()
}

fn file_refusal(name: &str, text: &str) -> String {
    let file = TestFile::new(name, text);
    Config::load(&file.args(), []).unwrap_err().to_string().replace(file.path(), "FILE")
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn defaults_are_those_of_the_documented_table() {
    let serve = load(&SERVE).unwrap().for_serve().unwrap();
    assert_eq!(serve.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(serve.metrics.listen.to_string(), "0.0.0.0:9090");
    assert_eq!(serve.metrics.allow_cidrs.len(), 6);
    assert_eq!(serve.node.name, "demo-0");
    assert_eq!(serve.node.zone, None);
    assert_eq!(serve.database.pool_size, 8);
    assert_eq!(serve.nats.replicas, 1);
    assert_eq!(serve.kubo_url.as_str(), "http://127.0.0.1:5001/");
    assert_eq!(serve.replication, Replication { min: 2, max: 2 });
    assert_eq!(serve.network.mode, NetworkMode::Public);
    assert!(serve.network.allow_cidrs.is_empty());
    assert_eq!(serve.worker.slots, 16);
    assert_eq!((serve.worker.slow_slots, serve.worker.retry_slots, serve.worker.unpin_slots), (64, 16, 8));
    assert_eq!(serve.worker.patience, Duration::from_secs(10));
    assert_eq!(serve.worker.sweep, Duration::from_secs(5));
    assert_eq!(serve.worker.stall, Duration::from_secs(120));
    assert_eq!(serve.worker.deadline, Duration::from_secs(86_400));
    assert_eq!((serve.worker.copy_slots, serve.worker.reconcile, serve.worker.gc), (8, HOUR, HOUR));
    assert_eq!((serve.rebalance.enabled, serve.rebalance.max_concurrent_moves), (true, 1_000));
    assert_eq!(serve.rebalance.grace, Duration::from_secs(600));
    assert_eq!(serve.log.format, LogFormat::Text);
    assert_eq!(serve.shutdown_grace, Duration::from_secs(20));
}

#[test]
fn a_private_network_allows_the_private_ranges_unless_told_otherwise() {
    let private = ("ANCHORAGE_NETWORK_MODE", "Private");
    let allowed = |pairs: &[(&str, &str)]| load(pairs).unwrap().values.network.allow_cidrs;
    assert_eq!(allowed(&[private]).len(), 4);
    let loopback = ("ANCHORAGE_NETWORK_ALLOW_CIDRS", "127.0.0.0/8");
    assert_eq!(allowed(&[private, loopback]), ["127.0.0.0/8".parse().unwrap()]);
}

#[test]
fn each_layer_wins_over_the_one_below() {
    let file =
        TestFile::new("layers.yaml", "listen: 127.0.0.1:1\nmetrics: {listen: '127.0.0.1:11'}\nworker: {slots: 3}\n");
    let variables = variables(&[("ANCHORAGE_LISTEN", "127.0.0.1:2"), ("ANCHORAGE_METRICS_LISTEN", "127.0.0.1:12")]);
    let args = ConfigArgs { listen: Some("127.0.0.1:3".to_owned()), ..file.args() };
    let values = Config::load(&args, variables).unwrap().values;
    assert_eq!(values.listen.to_string(), "127.0.0.1:3");
    assert_eq!(values.metrics.listen.to_string(), "127.0.0.1:12");
    assert_eq!(values.worker.slots, 3);
    assert_eq!(values.pool_size, 8);
}

#[test]
fn the_file_may_be_named_by_a_variable_and_holds_lists_numbers_and_empty_sections() {
    let file = TestFile::new(
        "named.yaml",
        "node:\nnetwork:\n  allowCidrs: [10.1.0.0/16, fc00::/7]\nworker: {slots: 7}\nlog: {format: json, level: }\n",
    );
    let values = load(&[("ANCHORAGE_CONFIG", file.path())]).unwrap().values;
    assert_eq!(values.network.allow_cidrs.len(), 2);
    assert_eq!(values.worker.slots, 7);
    assert_eq!(values.log.format, LogFormat::Json);
}

#[test]
fn an_empty_file_says_nothing() {
    let file = TestFile::new("empty.yaml", "# nothing yet\n");
    assert!(Config::load(&file.args(), []).is_ok());
}

#[test]
fn a_file_that_is_not_there_is_named_with_what_names_it() {
    let message = refusal(&[("ANCHORAGE_CONFIG", "/nowhere/a.yaml")]);
    assert!(message.starts_with("configuration file /nowhere/a.yaml: No such file"), "{message}");
    assert!(message.ends_with("(named by variable ANCHORAGE_CONFIG)"), "{message}");
}

#[test]
fn a_file_that_is_no_yaml_is_refused_with_the_line() {
    let message = file_refusal("broken.yaml", "listen: 127.0.0.1:1\nmetrics: {listen: [\n");
    assert!(message.starts_with("configuration file FILE is not YAML: "), "{message}");
    assert!(message.contains("line "), "{message}");
    let twice = file_refusal("twice.yaml", "listen: a\nlisten: b\n");
    assert!(twice.contains("duplicate entry with key \"listen\""), "{twice}");
}

#[test]
fn unknown_keys_of_the_file_are_refused_with_the_nearest_name() {
    assert_eq!(
        file_refusal("unknown.yaml", "replication: {mini: 1}"),
        "replication.mini in FILE is not a configuration key; did you mean replication.min?"
    );
    assert_eq!(
        file_refusal("section.yaml", "databse: {poolSize: 1}"),
        "databse in FILE is not a configuration key; did you mean database?"
    );
    assert_eq!(
        file_refusal("snake.yaml", "nats: {credentials_file: /x}"),
        "nats.credentials_file in FILE is not a configuration key; did you mean nats.credentialsFile?"
    );
    assert_eq!(
        file_refusal("far.yaml", "colour: red"),
        "colour in FILE is not a configuration key; `anchorage config` prints all keys"
    );
}

#[test]
fn values_of_the_file_that_have_the_wrong_shape_are_refused() {
    assert_eq!(
        file_refusal("shape1.yaml", "metrics: 9090"),
        "metrics: metrics in FILE must be a section with keys beneath it, not \"a number\""
    );
    assert_eq!(
        file_refusal("shape2.yaml", "listen: {port: 80}"),
        "listen: listen in FILE must be one value, not \"a section\""
    );
    assert_eq!(
        file_refusal("shape3.yaml", "- listen"),
        "configuration:  in FILE must be a section with keys beneath it, not \"a list\""
    );
    assert_eq!(
        file_refusal("shape4.yaml", "network: {allowCidrs: [1]}"),
        "network.allowCidrs: network.allowCidrs in FILE must be a list of texts, not \"a list\""
    );
}

#[test]
fn unknown_variables_are_refused_with_the_nearest_name() {
    assert_eq!(
        refusal(&[("ANCHORAGE_REPLICATION_MAXIMUM", "3")]),
        "variable ANCHORAGE_REPLICATION_MAXIMUM is not a configuration key; did you mean ANCHORAGE_REPLICATION_MAX?"
    );
    assert_eq!(
        refusal(&[("ANCHORAGE_KUBO_URL_FILE", "/x")]),
        "variable ANCHORAGE_KUBO_URL_FILE is not a configuration key; did you mean ANCHORAGE_NATS_URL_FILE?"
    );
}

#[test]
fn variables_of_others_are_let_be() {
    for name in [
        "ANCHORAGE_SERVICE_HOST",
        "ANCHORAGE_SERVICE_PORT",
        "ANCHORAGE_SERVICE_PORT_HTTP",
        "ANCHORAGE_PORT",
        "ANCHORAGE_PORT_80_TCP",
        "ANCHORAGE_PORT_80_TCP_PROTO",
        "ANCHORAGE_PORT_80_TCP_PORT",
        "ANCHORAGE_PORT_80_TCP_ADDR",
        "ANCHORAGE_DEMO_NODES_PORT_4001_UDP",
        "ANCHORAGE_SERVER",
        "ANCHORAGE_TOKEN",
        "ANCHORAGE_TOOLS_DIR",
        "ANCHORAGE_LAB_ANYTHING",
        "PATH",
        "LISTEN",
    ] {
        assert!(load(&[(name, "tcp://10.0.0.1:80")]).is_ok(), "{name}");
    }
    assert!(load(&[("ANCHORAGE_PORT_80_TCP_COLOUR", "x")]).is_err());
}

#[test]
fn every_key_is_known_to_file_and_variable_by_the_same_name() {
    for key in keys::ALL {
        let message = refusal(&[(&key.variable(), "\u{fffd}")]);
        let expected = format!("{}: variable {} must be UTF-8 text", key.path, key.variable());
        assert_eq!(message, expected);
    }
    assert_eq!(keys::METRICS_ALLOW_CIDRS.variable(), "ANCHORAGE_METRICS_ALLOW_CIDRS");
    assert_eq!(keys::DATABASE_ADMIN_URL.file_variable(), "ANCHORAGE_DATABASE_ADMIN_URL_FILE");
    assert_eq!(keys::DATABASE_ADMIN_URL.file_path(), "database.adminUrlFile");
}

#[test]
fn malformed_values_are_refused_with_place_and_form() {
    for (name, value, expected) in [
        ("LISTEN", "8080", "an IP address and port like 127.0.0.1:8080 or [::1]:8080"),
        ("METRICS_ALLOW_CIDRS", "10.0.0.0/8,all", "a list of address ranges like 10.0.0.0/8,fc00::/7"),
        ("NODE_NAME", "Demo 0", "1 to 253 of a-z, 0-9, - and ."),
        ("NODE_NAME", "", "1 to 253 of a-z, 0-9, - and ."),
        ("NODE_ZONE", "zone a", "at most 63 letters without spaces"),
        ("DATABASE_POOL_SIZE", "0", "a number from 1 to 1000"),
        ("NATS_REPLICAS", "6", "a number from 1 to 5"),
        ("KUBO_URL", "127.0.0.1:5001", "a URL like http://127.0.0.1:5001"),
        ("KUBO_URL", "unix:///run/kubo", "a URL like http://127.0.0.1:5001"),
        ("REPLICATION_MIN", "0", "a number from 1 to 100"),
        ("REPLICATION_MAX", "-1", "a number from 1 to 100"),
        ("NETWORK_MODE", "private", "Public or Private"),
        ("WORKER_SLOTS", "many", "a number from 1 to 4096"),
        ("WORKER_SWEEP_SECONDS", "1.5", "a number of seconds from 1 to 31536000"),
        ("UPLOADS_MAX_BYTES", "4GiB", "a number of bytes from 1 to 1099511627776"),
        ("UPLOADS_MAX_BYTES", "1099511627777", "a number of bytes from 1 to 1099511627776"),
        ("LOG_FORMAT", "xml", "text or json"),
        ("LOG_LEVEL", "loud,,", "a level like info or info,sqlx=warn"),
        ("SHUTDOWN_GRACE_SECONDS", "", "a number of seconds from 1 to 31536000"),
    ] {
        let name = format!("ANCHORAGE_{name}");
        let message = refusal(&[(&name, value)]);
        let ending = format!("variable {name} must be {expected}, not {value:?}");
        assert!(message.ends_with(&ending), "{message}");
    }
}

#[test]
fn malformed_secrets_are_refused_without_being_shown() {
    for (name, value, expected) in [
        ("ADMIN_TOKEN", "hush", "at least 32 visible ASCII characters"),
        ("ADMIN_TOKEN", "hush with spaces between all the words", "at least 32 visible ASCII characters"),
        ("TOKENS_ROOT", "hush", "at least 32 bytes long"),
        ("NATS_URL", "hush:4222", "one URL like nats://host:4222, or several with commas between"),
        ("NATS_CREDENTIALS", "", "not empty"),
        ("DATABASE_API_URL", "mysql://hush@db", "a URL like postgres://user:password@host/name"),
    ] {
        let name = format!("ANCHORAGE_{name}");
        let message = refusal(&[(&name, value)]);
        assert!(message.ends_with(&format!("variable {name} must be {expected}")), "{message}");
        assert!(!message.contains("hush"), "{message}");
    }
}

#[test]
fn a_secret_may_stand_in_a_file_and_loses_one_newline() {
    let secret = TestFile::new("secret", "0123456789-0123456789-0123456789\n\n");
    let config = load(&[("ANCHORAGE_TOKENS_ROOT_FILE", secret.path())]).unwrap();
    assert_eq!(config.values.token_root.unwrap().expose(), "0123456789-0123456789-0123456789\n");
    let yaml = TestFile::new("secret.yaml", &format!("tokens: {{rootFile: {}}}", secret.path()));
    assert!(Config::load(&yaml.args(), []).unwrap().values.token_root.is_some());
}

#[test]
fn a_secret_given_directly_and_by_file_is_refused_naming_both() {
    let secret = TestFile::new("double", "0123456789-0123456789-0123456789");
    assert_eq!(
        refusal(&[
            ("ANCHORAGE_ADMIN_TOKEN", "0123456789-0123456789-0123456789"),
            ("ANCHORAGE_ADMIN_TOKEN_FILE", secret.path()),
        ]),
        "admin.token is set twice, by variable ANCHORAGE_ADMIN_TOKEN and by variable ANCHORAGE_ADMIN_TOKEN_FILE: remove one of them"
    );
    let yaml = TestFile::new("double.yaml", &format!("admin: {{tokenFile: {}}}", secret.path()));
    let message = Config::load(&yaml.args(), variables(&[("ANCHORAGE_ADMIN_TOKEN", "x")])).unwrap_err().to_string();
    assert_eq!(
        message.replace(yaml.path(), "FILE"),
        "admin.token is set twice, by admin.tokenFile in FILE and by variable ANCHORAGE_ADMIN_TOKEN: remove one of them"
    );
}

#[test]
fn a_secret_file_that_cannot_be_read_is_named_with_what_names_it() {
    let message = refusal(&[("ANCHORAGE_NATS_URL_FILE", "/nowhere/nats")]);
    assert!(message.starts_with("nats.url: file /nowhere/nats: No such file"), "{message}");
    assert!(message.ends_with("(named by variable ANCHORAGE_NATS_URL_FILE)"), "{message}");
}

#[test]
fn contradictions_are_refused_naming_both_places() {
    let file = TestFile::new("contradiction.yaml", "replication: {max: 1}");
    let message = Config::load(&file.args(), variables(&[("ANCHORAGE_REPLICATION_MIN", "3")])).unwrap_err().to_string();
    assert_eq!(
        message.replace(file.path(), "FILE"),
        "replication.min = 3 (variable ANCHORAGE_REPLICATION_MIN) and replication.max = 1 (replication.max in FILE) contradict each other: \
         the minimum must not be above the maximum"
    );
    assert_eq!(
        refusal(&[("ANCHORAGE_METRICS_LISTEN", "127.0.0.1:8080")]),
        "listen = 0.0.0.0:8080 (default) and metrics.listen = 127.0.0.1:8080 (variable ANCHORAGE_METRICS_LISTEN) contradict each other: \
         give the API and the metrics different ports"
    );
    assert_eq!(
        refusal(&[("ANCHORAGE_NETWORK_MODE", "Private"), ("ANCHORAGE_NETWORK_ALLOW_CIDRS", "")]),
        "network.mode = Private (variable ANCHORAGE_NETWORK_MODE) and network.allowCidrs = none (variable ANCHORAGE_NETWORK_ALLOW_CIDRS) \
         contradict each other: a private network without any range may dial nobody; name the ranges of its nodes"
    );
    assert_eq!(
        refusal(&[("ANCHORAGE_WORKER_STALL_SECONDS", "100000")]),
        "worker.stallSeconds = 100000 (variable ANCHORAGE_WORKER_STALL_SECONDS) and worker.deadlineSeconds = 86400 (default) \
         contradict each other: a pin would reach its deadline before it could count as stalled"
    );
}

#[test]
fn one_secret_for_two_purposes_is_refused_without_being_shown() {
    let secret = "hush-hush-hush-hush-hush-hush-hush-hush";
    let message = refusal(&[("ANCHORAGE_TOKENS_ROOT", secret), ("ANCHORAGE_ADMIN_TOKEN", secret)]);
    assert_eq!(
        message,
        "tokens.root (variable ANCHORAGE_TOKENS_ROOT) and admin.token (variable ANCHORAGE_ADMIN_TOKEN) contradict each other: \
         they hold the same secret; who sees the admin token could sign tokens of any org"
    );
}

#[test]
fn two_free_ports_and_two_addresses_do_not_collide() {
    for (listen, metrics) in
        [("127.0.0.1:0", "127.0.0.1:0"), ("127.0.0.1:80", "127.0.0.2:80"), ("0.0.0.0:80", "0.0.0.0:81")]
    {
        let pairs = [("ANCHORAGE_LISTEN", listen), ("ANCHORAGE_METRICS_LISTEN", metrics)];
        assert!(load(&pairs).is_ok(), "{listen} {metrics}");
    }
}

#[test]
fn a_command_names_all_it_misses_and_asks_for_nothing_else() {
    let message = load(&[]).unwrap().for_migrate().unwrap_err().to_string();
    assert_eq!(
        message,
        "`anchorage migrate` needs \
         database.adminUrl (set variable ANCHORAGE_DATABASE_ADMIN_URL or ANCHORAGE_DATABASE_ADMIN_URL_FILE, or database.adminUrl or database.adminUrlFile in the YAML file); \
         database.apiUrl (set variable ANCHORAGE_DATABASE_API_URL or ANCHORAGE_DATABASE_API_URL_FILE, or database.apiUrl or database.apiUrlFile in the YAML file); \
         database.workerUrl (set variable ANCHORAGE_DATABASE_WORKER_URL or ANCHORAGE_DATABASE_WORKER_URL_FILE, or database.workerUrl or database.workerUrlFile in the YAML file); \
         database.metricsUrl (set variable ANCHORAGE_DATABASE_METRICS_URL or ANCHORAGE_DATABASE_METRICS_URL_FILE, or database.metricsUrl or database.metricsUrlFile in the YAML file)"
    );
    let message = load(&SERVE[1..]).unwrap().for_serve().unwrap_err().to_string();
    assert_eq!(
        message,
        "`anchorage serve` needs node.name (set variable ANCHORAGE_NODE_NAME, or node.name in the YAML file)"
    );
    let admin = ("ANCHORAGE_DATABASE_ADMIN_URL", "postgres://postgres@db/x");
    let mut pairs = SERVE[1..4].to_vec();
    pairs.push(admin);
    assert!(load(&pairs).unwrap().for_migrate().is_ok());
}

#[test]
fn what_is_in_force_is_shown_with_its_places_and_without_secrets() {
    let secret = TestFile::new("shown", "hush-hush-hush-hush-hush-hush-hush");
    let file = TestFile::new("shown.yaml", "worker: {slots: 3}\nnode: {zone: 'yes'}\nlog: {level: 'info,sqlx=warn'}\n");
    let args = ConfigArgs { node: Some("demo-0".to_owned()), ..file.args() };
    let config = Config::load(
        &args,
        variables(&[
            ("ANCHORAGE_TOKENS_ROOT_FILE", secret.path()),
            ("ANCHORAGE_NATS_URL", "nats://hush:hush@a"),
            ("ANCHORAGE_NETWORK_MODE", "Private"),
        ]),
    )
    .unwrap();
    let shown = config.to_yaml().replace(file.path(), "YAML").replace(secret.path(), "SECRET");
    assert!(!shown.contains("hush"));
    assert!(!format!("{config:?}").contains("hush"));
    insta::assert_snapshot!(shown, @r#"
listen: 0.0.0.0:8080 # default
metrics:
  listen: 0.0.0.0:9090 # default
  allowCidrs: ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"] # default
node:
  name: demo-0 # flag --node
  zone: yes # node.zone in YAML
database:
  # adminUrl: not set
  # apiUrl: not set
  # workerUrl: not set
  # metricsUrl: not set
  poolSize: 8 # default
nats:
  url: "********" # variable ANCHORAGE_NATS_URL
  # credentials: not set
  replicas: 1 # default
kubo:
  url: http://127.0.0.1:5001 # default
tokens:
  root: "********" # variable ANCHORAGE_TOKENS_ROOT_FILE, read from SECRET
admin:
  # token: not set
replication:
  min: 2 # default
  max: 2 # default
network:
  mode: Private # variable ANCHORAGE_NETWORK_MODE
  allowCidrs: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"] # default
worker:
  slots: 3 # worker.slots in YAML
  slowSlots: 64 # default
  copySlots: 8 # default
  retrySlots: 16 # default
  unpinSlots: 8 # default
  patienceSeconds: 10 # default
  sweepSeconds: 5 # default
  stallSeconds: 120 # default
  deadlineSeconds: 86400 # default
  reconcileSeconds: 3600 # default
  gcSeconds: 3600 # default
rebalance:
  enabled: true # default
  maxConcurrentMoves: 1000 # default
  graceSeconds: 600 # default
uploads:
  maxBytes: 4294967296 # default
log:
  format: text # default
  level: info,sqlx=warn # log.level in YAML
shutdown:
  graceSeconds: 20 # default
"#);
}

#[test]
fn what_is_shown_can_be_loaded_again() {
    let values = |shown: &str| -> Vec<String> {
        let without_comment = |line: &str| line.split(" # ").next().unwrap().to_owned();
        shown.lines().map(without_comment).collect()
    };
    let shown = load(&[("ANCHORAGE_NETWORK_MODE", "Private")]).unwrap().to_yaml();
    let file = TestFile::new("again.yaml", &shown);
    let again = Config::load(&file.args(), []).unwrap().to_yaml();
    assert_eq!(values(&again), values(&shown));
}

#[test]
fn debug_output_holds_no_secret() {
    let config = load(&SERVE).unwrap();
    let debug = format!("{config:?} {:?}", load(&SERVE).unwrap().for_serve().unwrap());
    for secret in ["root-root", "admin-admin", "anchorage_api:a", "user:pass"] {
        assert!(!debug.contains(secret), "{secret}");
    }
}
