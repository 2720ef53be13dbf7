//! Small disks of their own for the parts of a service, so that each of them can be full while the others are not.
//!
//! A disk is a file system in memory, mounted where the part has its files; that takes the right to mount. Whatever is
//! mounted is unmounted with its [`Disk`].

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::system::Part;

/// How large a disk is that can be full, in MiB. Postgres keeps its log there, too.
const KUBO_DISK: u32 = 64;
const NATS_DISK: u32 = 64;
const POSTGRES_DISK: u32 = 384;
/// What fills a disk is written in pieces of this size, in bytes, then in smaller ones.
const PIECES: [usize; 3] = [1 << 20, 1 << 16, 1 << 12];

/// A disk in its place.
#[derive(Debug)]
pub struct Disk {
    at: PathBuf,
}

impl Disk {
    /// Moves the directory `at`, which nobody uses now, to a disk of `mebibytes` that is mounted in its place.
    ///
    /// # Errors
    /// Without the right to mount. Then the directory is where it was.
    pub fn under(at: &Path, mebibytes: u32) -> Result<Self> {
        let old = at.with_extension("old");
        fs::rename(at, &old).with_context(|| format!("move {} away", at.display()))?;
        let mounted = fs::create_dir(at).context("make a place to mount at").and_then(|()| {
            let size = format!("size={mebibytes}m");
            run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "anchorage-chaos"]).arg(at))
        });
        if let Err(error) = mounted {
            let _ = fs::remove_dir(at);
            fs::rename(&old, at).with_context(|| format!("move {} back", at.display()))?;
            return Err(error);
        }
        let disk = Self { at: at.to_owned() };
        // With owners and rights, those of the directory itself, too.
        run(Command::new("cp").arg("-aT").args([&old, at]))?;
        fs::remove_dir_all(&old).with_context(|| format!("remove {}", old.display()))?;
        Ok(disk)
    }

    fn ballast(&self) -> PathBuf {
        self.at.join("ballast")
    }

    /// Writes to it until there is no room for a page.
    ///
    /// # Errors
    /// When it cannot be written to for another reason.
    pub fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.ballast()).context("fill a disk")?;
        for piece in PIECES.map(|size| vec![1; size]) {
            loop {
                match ballast.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("fill a disk"),
                }
            }
        }
        Ok(())
    }

    /// Makes room again.
    ///
    /// # Errors
    /// When what filled it cannot be removed.
    pub fn clear(&self) -> Result<()> {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).context("make room on a disk"),
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still has files open there loses them with their process.
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.at));
    }
}

/// Moves the files of each part of a service that does not run to a disk of its own.
///
/// # Errors
/// Without the right to mount.
pub fn of_each_part(state: &Path, nodes: u8) -> Result<Vec<(Part, Disk)>> {
    let kubo = |node: u8| (Part::Kubo(node.into()), state.join(format!("kubo/node-{node}")), KUBO_DISK);
    let shared = [(Part::Postgres, state.join("postgres"), POSTGRES_DISK), (Part::Nats, state.join("nats"), NATS_DISK)];
    let parts = shared.into_iter().chain((0..nodes).map(kubo));
    parts.map(|(part, at, size)| Ok((part, Disk::under(&at, size)?))).collect()
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {}", command.get_program().display()))?;
    let program = command.get_program().display();
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
