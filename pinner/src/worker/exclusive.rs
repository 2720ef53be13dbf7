//! One operation per content at a time: Kubo's pin and unpin of one CID must not overlap (HAZARDS 11).

use pinner_core::content::ContentKey;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::sync::OwnedMutexGuard;

type Lock = Arc<tokio::sync::Mutex<()>>;

/// Locks by content.
#[derive(Default)]
pub(super) struct Exclusive {
    locks: Arc<Mutex<HashMap<ContentKey, Lock>>>,
}

/// Held while a content is worked on.
pub(super) struct Alone {
    guard: Option<OwnedMutexGuard<()>>,
    locks: Arc<Mutex<HashMap<ContentKey, Lock>>>,
    content: ContentKey,
}

impl Exclusive {
    /// Waits until nobody else works on `content`.
    pub(super) async fn lock(&self, content: &ContentKey) -> Alone {
        let lock = {
            let mut locks = self.locks.lock().expect("nobody panics while holding this lock");
            Arc::clone(locks.entry(content.clone()).or_default())
        };
        let guard = Some(lock.lock_owned().await);
        Alone { guard, locks: Arc::clone(&self.locks), content: content.clone() }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let mut locks = self.locks.lock().expect("nobody panics while holding this lock");
        self.guard = None;
        // The map's own reference is the last one: nobody waits.
        if locks.get(&self.content).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.content);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use pinner_core::content::SubmittedCid;

    #[tokio::test]
    async fn the_second_waits_for_the_first_and_nothing_is_left_behind() {
        let key = SubmittedCid::parse("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG").unwrap().key().clone();
        let exclusive = Exclusive::default();
        let first = exclusive.lock(&key).await;
        assert!(exclusive.lock(&key).now_or_never().is_none());
        drop(first);
        let second = exclusive.lock(&key).now_or_never().expect("free again");
        drop(second);
        assert!(exclusive.locks.lock().unwrap().is_empty());
    }
}
