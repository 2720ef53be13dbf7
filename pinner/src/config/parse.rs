//! Texts into typed values, each with its bounds. A value that is set is checked even if the command at hand has no use
//! for it.

use std::{net::SocketAddr, ops::RangeInclusive, str::FromStr, time::Duration};

use ipnet::IpNet;
use reqwest::Url;
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::{
    ConfigError, Log, LogFormat, Metrics, Network, NetworkMode, Rebalance, Replication, Secret, Values, Worker,
    keys::{self, Key},
    layers::{Setting, Settings},
};

/// At least this many bytes of secret text: 32 random letters cannot be guessed.
const SECRET_LENGTH: usize = 32;

/// A TiB. Kubo writes a file in one go, so one of more bytes is better sent in parts.
const UPLOAD_MAX: u64 = 1 << 40;

pub(super) fn values(settings: &Settings) -> Result<Values, ConfigError> {
    let read = Reader(settings);
    Ok(Values {
        listen: read.address(&keys::LISTEN)?,
        metrics: Metrics {
            listen: read.address(&keys::METRICS_LISTEN)?,
            allow_cidrs: read.cidrs(&keys::METRICS_ALLOW_CIDRS)?,
        },
        node_name: read.node_name()?,
        node_zone: read.zone()?,
        admin_url: read.database_url(&keys::DATABASE_ADMIN_URL)?,
        api_url: read.database_url(&keys::DATABASE_API_URL)?,
        worker_url: read.database_url(&keys::DATABASE_WORKER_URL)?,
        metrics_url: read.database_url(&keys::DATABASE_METRICS_URL)?,
        pool_size: read.count(&keys::DATABASE_POOL_SIZE, 1..=1_000, "a number from 1 to 1000")?,
        nats_url: read.nats_url()?,
        nats_credentials: read.secret(&keys::NATS_CREDENTIALS, 1, "not empty")?,
        nats_replicas: read.count(&keys::NATS_REPLICAS, 1..=5, "a number from 1 to 5")?,
        kubo_url: read.kubo_url()?,
        token_root: read.secret(&keys::TOKENS_ROOT, SECRET_LENGTH, "at least 32 bytes long")?,
        admin_token: read.admin_token()?,
        replication: Replication {
            min: read.count(&keys::REPLICATION_MIN, 1..=100, "a number from 1 to 100")?,
            max: read.count(&keys::REPLICATION_MAX, 1..=100, "a number from 1 to 100")?,
        },
        network: Network { mode: read.network_mode()?, allow_cidrs: read.cidrs(&keys::NETWORK_ALLOW_CIDRS)? },
        worker: Worker {
            slots: read.slots(&keys::WORKER_SLOTS)?,
            slow_slots: read.slots(&keys::WORKER_SLOW_SLOTS)?,
            copy_slots: read.slots(&keys::WORKER_COPY_SLOTS)?,
            retry_slots: read.slots(&keys::WORKER_RETRY_SLOTS)?,
            unpin_slots: read.slots(&keys::WORKER_UNPIN_SLOTS)?,
            patience: read.seconds(&keys::WORKER_PATIENCE_SECONDS)?,
            sweep: read.seconds(&keys::WORKER_SWEEP_SECONDS)?,
            stall: read.seconds(&keys::WORKER_STALL_SECONDS)?,
            deadline: read.seconds(&keys::WORKER_DEADLINE_SECONDS)?,
            reconcile: read.seconds(&keys::WORKER_RECONCILE_SECONDS)?,
            gc: read.seconds(&keys::WORKER_GC_SECONDS)?,
        },
        rebalance: Rebalance {
            enabled: read.parse(&keys::REBALANCE_ENABLED, "true or false", |text| text.parse().ok())?,
            max_concurrent_moves: read.count(
                &keys::REBALANCE_MAX_CONCURRENT_MOVES,
                1..=100_000,
                "a number from 1 to 100000",
            )?,
            grace: read.seconds(&keys::REBALANCE_GRACE_SECONDS)?,
        },
        upload_max: read.count(
            &keys::UPLOADS_MAX_BYTES,
            1..=UPLOAD_MAX,
            "a number of bytes from 1 to 1099511627776",
        )?,
        log: Log { format: read.log_format()?, level: read.log_level()? },
        shutdown_grace: read.seconds(&keys::SHUTDOWN_GRACE_SECONDS)?,
    })
}

struct Reader<'a>(&'a Settings);

impl Reader<'_> {
    /// The value of a key that has a default.
    fn parse<T>(
        &self,
        key: &'static Key,
        expected: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let setting = self.0.get(key).expect("the key has a default, so it is always set");
        parse(&setting.text).ok_or_else(|| malformed(key, setting, expected))
    }

    fn address(&self, key: &'static Key) -> Result<SocketAddr, ConfigError> {
        self.parse(key, "an IP address and port like 127.0.0.1:8080 or [::1]:8080", |text| text.parse().ok())
    }

    fn cidrs(&self, key: &'static Key) -> Result<Vec<IpNet>, ConfigError> {
        self.parse(key, "a list of address ranges like 10.0.0.0/8,fc00::/7", |text| {
            text.split(',').map(str::trim).filter(|range| !range.is_empty()).map(|range| range.parse().ok()).collect()
        })
    }

    fn count<T>(&self, key: &'static Key, bounds: RangeInclusive<T>, expected: &'static str) -> Result<T, ConfigError>
    where
        T: FromStr + PartialOrd,
    {
        self.parse(key, expected, |text| text.parse().ok().filter(|number| bounds.contains(number)))
    }

    fn slots(&self, key: &'static Key) -> Result<usize, ConfigError> {
        self.count(key, 1..=4_096, "a number from 1 to 4096")
    }

    /// A year bounds it, so that no sum of times overflows.
    fn seconds(&self, key: &'static Key) -> Result<Duration, ConfigError> {
        self.count(key, 1..=31_536_000, "a number of seconds from 1 to 31536000").map(Duration::from_secs)
    }

    fn node_name(&self) -> Result<Option<String>, ConfigError> {
        let Some(setting) = self.0.get(&keys::NODE_NAME) else {
            return Ok(None);
        };
        let valid = (1..=253).contains(&setting.text.len())
            && setting.text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'));
        if valid {
            Ok(Some(setting.text.clone()))
        } else {
            Err(malformed(&keys::NODE_NAME, setting, "1 to 253 of a-z, 0-9, - and ."))
        }
    }

    fn zone(&self) -> Result<Option<String>, ConfigError> {
        self.parse(&keys::NODE_ZONE, "at most 63 letters without spaces", |text| {
            let valid = text.len() <= 63 && text.chars().all(|c| c.is_ascii_graphic());
            valid.then(|| Some(text.to_owned()).filter(|zone| !zone.is_empty()))
        })
    }

    fn kubo_url(&self) -> Result<Url, ConfigError> {
        self.parse(&keys::KUBO_URL, "a URL like http://127.0.0.1:5001", |text| Url::parse(text).ok().filter(is_http))
    }

    fn network_mode(&self) -> Result<NetworkMode, ConfigError> {
        self.parse(&keys::NETWORK_MODE, "Public or Private", |text| match text {
            "Public" => Some(NetworkMode::Public),
            "Private" => Some(NetworkMode::Private),
            _ => None,
        })
    }

    fn log_format(&self) -> Result<LogFormat, ConfigError> {
        self.parse(&keys::LOG_FORMAT, "text or json", |text| match text {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        })
    }

    /// `Targets` alone takes a lone unknown word for a target, so that `inof` would log nothing but itself.
    fn log_level(&self) -> Result<Targets, ConfigError> {
        self.parse(&keys::LOG_LEVEL, "a level like info or info,sqlx=warn", |text| {
            let names_a_level = |directive: &str| {
                let level = directive.rsplit('=').next().unwrap_or(directive);
                level.parse::<LevelFilter>().is_ok()
            };
            text.split(',').all(names_a_level).then(|| text.parse().ok()).flatten()
        })
    }

    fn database_url(&self, key: &'static Key) -> Result<Option<Secret>, ConfigError> {
        self.secret_that(key, "a URL like postgres://user:password@host/name", |text| {
            Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "postgres" | "postgresql"))
        })
    }

    fn nats_url(&self) -> Result<Option<Secret>, ConfigError> {
        self.secret_that(&keys::NATS_URL, "one URL like nats://host:4222, or several with commas between", |text| {
            text.split(',').all(|url| {
                Url::parse(url.trim()).is_ok_and(|url| matches!(url.scheme(), "nats" | "tls" | "ws" | "wss"))
            })
        })
    }

    /// It travels in a header, so it consists of visible ASCII.
    fn admin_token(&self) -> Result<Option<Secret>, ConfigError> {
        self.secret_that(&keys::ADMIN_TOKEN, "at least 32 visible ASCII characters", |text| {
            text.len() >= SECRET_LENGTH && text.bytes().all(|b| b.is_ascii_graphic())
        })
    }

    fn secret(&self, key: &'static Key, length: usize, expected: &'static str) -> Result<Option<Secret>, ConfigError> {
        self.secret_that(key, expected, |text| text.len() >= length)
    }

    fn secret_that(
        &self,
        key: &'static Key,
        expected: &'static str,
        holds: impl FnOnce(&str) -> bool,
    ) -> Result<Option<Secret>, ConfigError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(setting) if holds(&setting.text) => Ok(Some(Secret::new(setting.text.clone()))),
            Some(setting) => Err(malformed(key, setting, expected)),
        }
    }
}

/// Without a password: this URL is no secret and is printed.
fn is_http(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https") && url.has_host() && url.password().is_none()
}

fn malformed(key: &Key, setting: &Setting, expected: &'static str) -> ConfigError {
    ConfigError::Malformed {
        key: key.path.to_owned(),
        place: setting.place.clone(),
        expected,
        found: (!key.is_secret()).then(|| setting.text.clone()),
    }
}
