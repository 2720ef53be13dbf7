//! A bell for the worker: whoever has news rings it, and may wait until a look that began after that has ended.

use tokio::sync::watch;

/// Rings for the worker. Cheap to clone.
#[derive(Clone)]
pub struct Bell {
    rung: watch::Sender<u64>,
    answered: watch::Sender<u64>,
}

impl Default for Bell {
    fn default() -> Self {
        Self { rung: watch::Sender::new(0), answered: watch::Sender::new(0) }
    }
}

impl Bell {
    /// Rings. Many rings before the worker looks are one.
    pub fn ring(&self) -> Ring {
        let mut number = 0;
        self.rung.send_modify(|rung| {
            *rung += 1;
            number = *rung;
        });
        Ring { number, answered: self.answered.subscribe() }
    }

    /// The worker's end.
    pub fn listener(&self) -> Listener {
        Listener { rung: self.rung.subscribe(), answered: self.answered.clone() }
    }
}

/// One ring.
pub struct Ring {
    number: u64,
    answered: watch::Receiver<u64>,
}

impl Ring {
    /// Waits until the worker has looked since. `false` when it never will, because it has ended.
    pub async fn answered(mut self) -> bool {
        self.answered.wait_for(|answered| *answered >= self.number).await.is_ok()
    }
}

/// The worker's end of a bell.
pub struct Listener {
    rung: watch::Receiver<u64>,
    answered: watch::Sender<u64>,
}

impl Listener {
    /// Waits for a ring that was not heard yet. Can be cancelled.
    pub async fn heard(&mut self) {
        if self.rung.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Begins a look: it answers every ring up to now.
    pub fn begin(&mut self) -> u64 {
        *self.rung.borrow_and_update()
    }

    /// Ends the look that [`Listener::begin`] gave.
    pub fn end(&self, look: u64) {
        self.answered.send_replace(look);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn a_ring_is_answered_by_a_look_that_began_after_it() {
        let bell = Bell::default();
        let mut listener = bell.listener();
        let early = bell.ring();
        let look = listener.begin();
        let late = bell.ring();
        listener.end(look);
        assert_eq!(early.answered().now_or_never(), Some(true));
        assert!(late.answered().now_or_never().is_none());
        assert!(listener.heard().now_or_never().is_some());
    }
}
