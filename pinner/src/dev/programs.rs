//! Finds the programs that `anchorage dev` runs, and names all that are missing at once.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::account::Account;

/// Where each program is.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) anchorage: PathBuf,
    pub(super) ipfs: PathBuf,
    pub(super) nats_server: PathBuf,
    /// The directory with `initdb` and `postgres`, which must be of one version.
    pub(super) postgres_bin: PathBuf,
    /// Whom Postgres runs as, if not as ourselves.
    pub(super) postgres_account: Option<Account>,
}

impl Programs {
    /// Looks in `ANCHORAGE_TOOLS_DIR`, where `make tools` puts programs, on `PATH` and where Debian has Postgres.
    pub(super) fn find() -> anyhow::Result<Self> {
        let account = Account::for_postgres()?;
        let places = places();
        let anywhere = |name: &str| places.iter().map(|place| place.join(name)).find(|path| is_program(path));
        let (ipfs, nats_server) = (anywhere("ipfs"), anywhere("nats-server"));
        let postgres: Vec<PathBuf> = places.iter().filter_map(|place| postgres_bin(place)).collect();
        let usable = postgres.iter().find(|bin| account.is_none() || closed_to_others(bin).is_none());

        match (ipfs, nats_server, usable) {
            (Some(ipfs), Some(nats_server), Some(postgres_bin)) => Ok(Self {
                anchorage: env::current_exe().context("find this program's own file")?,
                ipfs,
                nats_server,
                postgres_bin: postgres_bin.clone(),
                postgres_account: account,
            }),
            (ipfs, nats_server, usable) => {
                if usable.is_none()
                    && let (Some(found), Some(account)) = (postgres.first(), &account)
                    && let Some(closed) = closed_to_others(found)
                {
                    anyhow::bail!(
                        "Postgres in {} cannot run under account {}, which may not enter {}: \
                         install it where every account may (`apt-get install postgresql`), or start as an ordinary user",
                        found.display(),
                        account.name(),
                        closed.display(),
                    );
                }
                let missing: Vec<&str> = [
                    (ipfs.is_none(), "ipfs (Kubo)"),
                    (nats_server.is_none(), "nats-server"),
                    (usable.is_none(), "initdb and postgres (Postgres 15 or newer)"),
                ]
                .into_iter()
                .filter_map(|(is_missing, name)| is_missing.then_some(name))
                .collect();
                anyhow::bail!("cannot find {}: `make tools` gets them; looked in {}", missing.join(", "), list(&places))
            }
        }
    }
}

/// The more a place was meant for us, the earlier it comes.
fn places() -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> = Vec::new();
    places.extend(env::var_os("ANCHORAGE_TOOLS_DIR").map(PathBuf::from));
    let cache =
        env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".cache")));
    if let Some(cache) = cache {
        let tools = cache.join("anchorage/tools");
        places.extend([tools.join("bin"), tools.join("postgres/bin")]);
    }
    if let Some(path) = env::var_os("PATH") {
        places.extend(env::split_paths(&path));
    }
    places.extend(debian_postgres());
    // Children run in another directory than we do.
    places.into_iter().filter_map(|place| std::path::absolute(place).ok()).collect()
}

/// `/usr/lib/postgresql/<version>/bin`, which Debian keeps off `PATH`; the newest first.
fn debian_postgres() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    versions.into_iter().rev().map(|(_, path)| path).collect()
}

/// The real directory of the Postgres that `place` has: links may stand where its account cannot go, and a Postgres looks
/// for the rest of itself beside itself.
fn postgres_bin(place: &Path) -> Option<PathBuf> {
    let program = fs::canonicalize(place.join("postgres")).ok()?;
    let bin = program.parent()?;
    (is_program(&program) && is_program(&bin.join("initdb"))).then(|| bin.to_owned())
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// The first directory on the way to `path`, itself included, that an account without rights of its own may not enter.
fn closed_to_others(path: &Path) -> Option<PathBuf> {
    let mut on_the_way: Vec<&Path> = path.ancestors().collect();
    on_the_way.reverse();
    on_the_way
        .into_iter()
        .find(|path| fs::metadata(path).is_ok_and(|it| it.permissions().mode() & 0o001 == 0))
        .map(Path::to_owned)
}

fn list(places: &[PathBuf]) -> String {
    let names: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
    names.join(", ")
}
