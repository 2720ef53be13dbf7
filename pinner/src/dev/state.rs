//! The state directory: where everything lives, and the lock that keeps two of us out of it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use anyhow::Context as _;

/// An open state directory. The lock ends with the process, however it ends.
#[derive(Debug)]
pub(super) struct StateDir {
    path: PathBuf,
    temporary: bool,
    _lock: File,
}

impl StateDir {
    /// Opens `path`, or a new temporary directory; waits for nobody.
    pub(super) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let temporary = path.is_none();
        let path = match path {
            Some(path) => std::path::absolute(path).context("find the state directory")?,
            None => std::env::temp_dir().join(format!("anchorage-dev-{:016x}", rand::random::<u64>())),
        };
        private_dir(&path)?;
        let lock = lock(&path)?;
        let state = Self { path, temporary, _lock: lock };
        private_dir(&state.logs())?;
        Ok(state)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.temporary
    }

    /// Ports and secrets, kept for the next start.
    pub(super) fn memory_file(&self) -> PathBuf {
        self.path.join("state.json")
    }

    /// The processes of the present run.
    pub(super) fn roster_file(&self) -> PathBuf {
        roster_file(&self.path)
    }

    pub(super) fn swarm_key(&self) -> PathBuf {
        self.path.join("swarm.key")
    }

    pub(super) fn postgres_data(&self) -> PathBuf {
        self.path.join("postgres")
    }

    pub(super) fn nats(&self) -> PathBuf {
        self.path.join("nats")
    }

    pub(super) fn kubo(&self, node: &str) -> PathBuf {
        self.path.join("kubo").join(node)
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }
}

/// [`StateDir::roster_file`] for the watchdog, which opens no state directory: its owner has it locked.
pub(super) fn roster_file(state_dir: &Path) -> PathBuf {
    state_dir.join("running.json")
}

impl Drop for StateDir {
    fn drop(&mut self) {
        if self.temporary {
            // Best effort: it lies where the system clears up.
            let _ = remove(&self.path);
        }
    }
}

/// Removes a temporary state directory. A program that was killed a moment ago may still be writing into it.
pub(super) fn remove(path: &Path) -> anyhow::Result<()> {
    let mut tries = 40;
    loop {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && tries > 0 => {
                tries -= 1;
                sleep(Duration::from_millis(50));
            }
            removed => return removed.with_context(|| format!("remove {}", path.display())),
        }
    }
}

/// An empty directory beside `path`, for what becomes `path` when it is whole; what an earlier attempt left there goes.
pub(super) fn empty_dir_beside(path: &Path) -> anyhow::Result<PathBuf> {
    let new = path.with_extension("new");
    match fs::remove_dir_all(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", new.display()));
        }
        _ => {}
    }
    private_dir(&new)?;
    Ok(new)
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let file = path.join("dev.lock");
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&file)
        .with_context(|| format!("open {}", file.display()))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = lock.read_to_string(&mut pid);
            anyhow::bail!(
                "state directory {} is in use by `anchorage dev` with pid {}: end that one, or choose another with --state-dir",
                path.display(),
                pid.trim()
            );
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("lock {}", file.display()));
        }
    }
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .with_context(|| format!("write {}", file.display()))?;
    Ok(lock)
}

/// Makes a directory, with its parents, that only we may enter. One that is there keeps its rights.
pub(super) fn private_dir(path: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("make directory {}", path.display()))
}

/// Writes a file that only we may read; whoever reads it sees the old text or the new one, never a part.
pub(super) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let _ = fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}
