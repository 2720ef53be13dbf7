//! The real service to measure: the release build's `anchorage dev`, in a temporary state directory of its own, with
//! real Postgres, NATS and Kubo.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Deserialize;
use serde_json::json;

use super::http::{Connection, get, post};

/// A running service. It ends, and all that it stored goes, with this value.
#[derive(Debug)]
pub struct Service {
    dev: Child,
    announcement: Announcement,
}

/// The line of `anchorage dev`, as far as it is of use here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Announcement {
    endpoint: String,
    admin_token: String,
    kubo: Vec<String>,
    database_url: String,
    pids: Pids,
}

/// The processes of a service.
#[derive(Debug, Clone, Deserialize)]
pub struct Pids {
    /// The postmaster.
    pub postgres: i32,
    /// nats-server.
    pub nats: i32,
    /// One a node.
    pub kubo: Vec<i32>,
    /// One a node.
    pub pinner: Vec<i32>,
}

/// An org and how to act as it.
#[derive(Debug, Clone)]
pub struct Org {
    /// Its UUID, as the database has it.
    pub id: String,
    /// A token with the scopes of a user.
    pub token: String,
}

impl Service {
    /// Starts one with one node, its pinner configured further by `variables`, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready; it says why on standard error.
    pub fn start(variables: &[(&str, &str)]) -> Result<Self> {
        Self::start_in(None, variables)
    }

    /// The same with a state directory that stays.
    ///
    /// # Errors
    /// When it does not become ready; it says why on standard error.
    pub fn start_in(state: Option<&Path>, variables: &[(&str, &str)]) -> Result<Self> {
        let program = program()?;
        let mut command = Command::new(&program);
        command.args(["dev", "--nodes", "1", "--listen", "127.0.0.1:0"]);
        if let Some(state) = state {
            command.arg("--state-dir").arg(state);
        }
        let mut dev = command
            .env("ANCHORAGE_LOG_LEVEL", "warn")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let mut line = String::new();
        let out = dev.stdout.take().context("anchorage dev has no standard output")?;
        BufReader::new(out).read_line(&mut line).context("read what anchorage dev announces")?;
        let announcement = serde_json::from_str(&line);
        match announcement {
            Ok(announcement) => Ok(Self { dev, announcement }),
            Err(error) => {
                let _ = dev.wait();
                Err(error).context("anchorage dev did not become ready; it said why above")
            }
        }
    }

    /// Where the API is.
    ///
    /// # Errors
    /// When the announcement holds no address.
    pub fn api(&self) -> Result<SocketAddr> {
        address(&self.announcement.endpoint)
    }

    /// Where Kubo's RPC is.
    ///
    /// # Errors
    /// When the announcement holds no address.
    pub fn kubo(&self) -> Result<SocketAddr> {
        address(self.announcement.kubo.first().context("no Kubo was announced")?)
    }

    /// The database, as superuser.
    pub fn database_url(&self) -> &str {
        &self.announcement.database_url
    }

    /// Its processes.
    pub fn pids(&self) -> &Pids {
        &self.announcement.pids
    }

    /// Makes sure that there is an org of this name and gives a token for it.
    ///
    /// # Errors
    /// When the admin API refuses.
    pub async fn org(&self, name: &str) -> Result<Org> {
        let wish = json!({"org": name, "scopes": ["pins:read", "pins:write"]}).to_string();
        let request = post("/admin/v1/tokens", &self.announcement.admin_token, "application/json", wish.as_bytes());
        let mut connection = Connection::open(self.api()?).await?;
        let answer = connection.send(&request).await?;
        ensure!((200..300).contains(&answer.status), "mint a token: {}", String::from_utf8_lossy(answer.body));
        let minted: serde_json::Value = serde_json::from_slice(answer.body).context("read a minted token")?;
        let text = |pointer: &str| minted.pointer(pointer).and_then(|value| value.as_str()).map(str::to_owned);
        let (id, token) = (text("/org/id").context("no org id")?, text("/token").context("no token")?);
        Ok(Org { id: uuid_of(&id)?, token })
    }

    /// Orgs by the name `{prefix}-0` and so on.
    ///
    /// # Errors
    /// When the admin API refuses.
    pub async fn orgs(&self, prefix: &str, count: usize) -> Result<Vec<Org>> {
        let mut orgs = Vec::with_capacity(count);
        for number in 0..count {
            orgs.push(self.org(&format!("{prefix}-{number}")).await?);
        }
        Ok(orgs)
    }

    /// How many pins of an org have one of `statuses`, as `GET /pins` counts them.
    ///
    /// # Errors
    /// When the service refuses.
    pub async fn count(&self, org: &Org, statuses: &str) -> Result<u64> {
        let mut connection = Connection::open(self.api()?).await?;
        let answer = connection.send(&get(&format!("/pins?limit=1&status={statuses}"), &org.token)).await?;
        answer.json(200)?["count"].as_u64().context("a list without its count")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Ends all parts and removes the state directory.
        if let Ok(pid) = i32::try_from(self.dev.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.dev.wait();
    }
}

/// The `anchorage` of the same build.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe().context("find this program's own file")?;
    let path = own.parent().unwrap_or(Path::new("/")).join("anchorage");
    ensure!(path.is_file(), "{} is missing: use `make bench`, or cargo build --release -p anchorage", path.display());
    Ok(path)
}

fn address(url: &str) -> Result<SocketAddr> {
    let address = url.strip_prefix("http://").with_context(|| format!("{url} is no http URL"))?;
    address.parse().with_context(|| format!("{url} does not name an address"))
}

/// The UUID in a TypeID such as `org_01h455vb4pex5vsknk084sn02q`.
pub(crate) fn uuid_of(id: &str) -> Result<String> {
    const DIGITS: &str = "0123456789abcdefghjkmnpqrstvwxyz";
    let (_, suffix) = id.split_once('_').with_context(|| format!("{id} is no TypeID"))?;
    let mut value = 0_u128;
    for digit in suffix.chars() {
        let digit = DIGITS.find(digit).with_context(|| format!("{id} is no TypeID"))?;
        value = value << 5 | digit as u128;
    }
    let hex = format!("{value:032x}");
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typeid_is_a_uuid_in_other_digits() {
        assert_eq!(uuid_of("org_01h455vb4pex5vsknk084sn02q").unwrap(), "01890a5d-ac96-774b-bcce-b302099a8057");
        assert!(uuid_of("org").is_err() && uuid_of("org_u").is_err());
    }

    #[test]
    fn an_address_is_taken_from_a_url() {
        assert_eq!(address("http://127.0.0.1:80").unwrap(), "127.0.0.1:80".parse().unwrap());
        assert!(address("https://127.0.0.1:80").is_err() && address("http://localhost").is_err());
    }
}
