//! Streams that take nothing any more.
//!
//! nats-server does not trust a stream's files after a write that failed, as on a full disk. It answers questions about the
//! stream, and to whatever is to be stored it says nothing at all, long after there is room, until it is started again.
//! We may not be the ones who can do that. But nothing in our streams is worth keeping, so one that takes nothing is deleted:
//! those who use it make it anew.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// So many writes in a row must get no answer.
const WRITES: u32 = 3;
/// And for so long: a server that was started a moment ago is busy.
const SINCE: Duration = Duration::from_secs(12);

/// The streams to which the last writes got no answer.
#[derive(Debug, Default)]
pub(super) struct Unwritable(Mutex<HashMap<String, Silence>>);

#[derive(Debug, Clone, Copy)]
struct Silence {
    since: Instant,
    writes: u32,
}

impl Unwritable {
    /// Notes a write to a stream. Gives whether the stream has taken nothing for so long that it will not any more; then
    /// counting begins anew.
    pub(super) fn note(&self, stream: &str, is_answered: bool, now: Instant) -> bool {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_answered {
            streams.remove(stream);
            return false;
        }
        let silence = streams.entry(stream.to_owned()).or_insert(Silence { since: now, writes: 0 });
        silence.writes += 1;
        let is_over = silence.writes >= WRITES && now.duration_since(silence.since) >= SINCE;
        if is_over {
            streams.remove(stream);
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_is_given_up_after_some_writes_in_some_time_without_an_answer() {
        let (streams, start) = (Unwritable::default(), Instant::now());
        let note = |after, is_answered| streams.note("work", is_answered, start + Duration::from_secs(after));
        assert!(![note(0, false), note(1, false), note(2, false)].contains(&true), "many at once are one");
        assert!(!streams.note("other", false, start + Duration::from_secs(20)));
        assert!(note(12, false));
        assert!(!note(13, false), "from the start");
        assert!(!note(20, true) && !note(21, false) && !note(60, false), "an answer ends the silence");
        assert!(note(61, false));
    }
}
