//! The disk that Kubo stores on, and what is to be done when it was full.

use super::{Kubo, KuboError, LOOKUP_TIMEOUT, accepted};
use serde::Deserialize;

/// What an error says when a disk, or what its owner may use of it, is full.
const FULL: [&str; 2] = ["no space left on device", "disk quota exceeded"];

/// How full a disk is, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Disk {
    /// What can still be written.
    #[serde(rename = "free_space")]
    pub free: u64,
    /// What it holds when it is full.
    #[serde(rename = "total_space")]
    pub total: u64,
}

/// So much of a disk, up to [`ENOUGH`], must be free for there to be room: a hundredth.
const SHARE: u64 = 100;
/// More than enough for blocks of the usual size, and for the files that a database writes anew: 1 GiB.
const ENOUGH: u64 = 1 << 30;
/// Too little for anything: 4 MiB.
const LEAST: u64 = 4 << 20;

impl Disk {
    /// Whether there is room for more than a moment's work.
    #[must_use]
    pub fn has_room(self) -> bool {
        self.free >= (self.total / SHARE).clamp(LEAST, ENOUGH)
    }
}

impl KuboError {
    /// What Kubo gave as the reason for not doing something.
    pub(super) fn refused(why: String) -> Self {
        if FULL.iter().any(|full| why.contains(full)) { Self::Full(why) } else { Self::Refused(why) }
    }
}

impl Kubo {
    /// How full its disk is.
    pub async fn disk(&self) -> Result<Disk, KuboError> {
        #[derive(Deserialize)]
        struct Answer {
            diskinfo: Disk,
        }
        Ok(self.lookup::<Answer>("diag/sys", &[]).await?.diskinfo)
    }

    /// Has it end. Whoever runs it starts it again.
    pub async fn shut_down(&self) -> Result<(), KuboError> {
        let request = self.client.post(self.endpoint("shutdown")).timeout(LOOKUP_TIMEOUT);
        accepted(request.send().await.map_err(KuboError::Unreachable)?).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_full_disk_refuses_is_told_from_the_rest() {
        let full = "pin: write /data/ipfs/datastore/000006.log: no space left on device";
        assert!(matches!(KuboError::refused(full.to_owned()), KuboError::Full(why) if why == full));
        assert!(matches!(KuboError::refused("block was not found".to_owned()), KuboError::Refused(_)));
    }

    #[test]
    fn a_hundredth_of_a_disk_is_room_within_bounds() {
        let has_room = |free, total| Disk { free, total }.has_room();
        assert!(has_room(11 << 20, 1 << 30) && !has_room(11 << 20, 2 << 30));
        assert!(has_room(1 << 30, 1 << 42), "of a large disk some blocks' worth");
        assert!(has_room(4 << 20, 16 << 20) && !has_room((4 << 20) - 1, 16 << 20), "of a small one, too");
    }
}
