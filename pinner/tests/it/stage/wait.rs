//! Waiting for something to become true, and failing with its name when it does not.

use std::time::{Duration, Instant};

/// Looks again and again until `look` gives something. Panics after `within`, naming `what`.
pub(crate) async fn until<T, L>(what: &str, within: Duration, mut look: impl FnMut() -> L) -> T
where
    L: Future<Output = Option<T>>,
{
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < within, "still not after {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// Enough for anything that a machine under load does in a moment.
pub(crate) const SOON: Duration = Duration::from_secs(20);
