//! How fast the disk syncs just now: the machine's weather, which every round is stamped with.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::figures::as_float;
use crate::program::Program;

const BLOCK: [u8; 4096] = [0x5a; 4096];
const FOR: Duration = Duration::from_millis(300);

/// Synced 4 KiB writes a second, one after the other, in the directory for temporary files, where the databases are too.
///
/// # Errors
/// When the file cannot be written.
pub fn synced_writes() -> Result<f64> {
    let path = std::env::temp_dir().join(format!("anchorage-bench-{}.sync", std::process::id()));
    let measured = measure(&path);
    let _ = std::fs::remove_file(&path);
    measured.with_context(|| format!("measure synced writes on {}", path.display()))
}

fn measure(path: &std::path::Path) -> io::Result<f64> {
    let file = File::create(path)?;
    // The first write makes the file longer, which costs a second sync.
    file.write_all_at(&BLOCK, 0)?;
    file.sync_all()?;
    let start = Instant::now();
    let mut writes = 0_usize;
    while start.elapsed() < FOR {
        file.write_all_at(&BLOCK, 0)?;
        file.sync_data()?;
        writes += 1;
    }
    Ok(as_float(writes) / start.elapsed().as_secs_f64())
}

/// Bytes that are free in the directory for temporary files.
///
/// # Errors
/// When `df` does not say.
pub fn free() -> Result<u64> {
    let place = std::env::temp_dir();
    let said = Program::new("df").args(["--output=avail", "--block-size=1"]).args([&place]).run()?;
    let bytes = said.lines().nth(1).and_then(|line| line.trim().parse().ok());
    bytes.with_context(|| format!("df says of {}: {said}", place.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_is_there() {
        assert!(synced_writes().unwrap() > 0.0 && free().unwrap() > 0);
    }
}
