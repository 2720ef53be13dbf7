//! Sends and receives wake-ups, so that work begins at once instead of at the next sweep.
//!
//! Sending happens after the commit and out of the request's way; what cannot be sent is dropped, because the
//! sweep finds the work. Receiving rings the worker's bell and acknowledges once the worker has looked.

use crate::{
    bell::Bell,
    db::placements::Wake,
    nats::{Nats, NatsError},
};
use async_nats::jetstream::AckKind;
use futures::StreamExt;
use pinner_core::id::NodeId;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Wake-ups that may wait to be sent. More than this means that NATS is slow or away: then the sweep is fast enough.
const QUEUE_MAX: usize = 4096;
/// How many wake-ups are read at a time.
const BATCH: usize = 64;
/// How long to wait before asking NATS again for what it just refused.
const RETRY: Duration = Duration::from_secs(3);
/// A silent server is noticed after two of these.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Where commits leave the jobs they made.
#[derive(Clone)]
pub struct Waker {
    own: NodeId,
    bell: Bell,
    queue: mpsc::Sender<Wake>,
}

impl Waker {
    /// A waker of the pinner `own`, and the queue that [`send`] empties.
    pub fn new(own: NodeId, bell: Bell) -> (Self, mpsc::Receiver<Wake>) {
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        (Self { own, bell, queue }, receiver)
    }

    /// Tells the pinners of these jobs. Never waits, never fails.
    pub fn wake(&self, wakes: &[Wake]) {
        for wake in wakes {
            if wake.node_id == self.own.uuid() {
                self.bell.ring();
            } else if self.queue.try_send(*wake).is_err() {
                tracing::debug!("wake-up dropped; the sweep finds its work");
            }
        }
    }
}

/// Sends queued wake-ups until told to stop.
pub async fn send(nats: Nats, mut queue: mpsc::Receiver<Wake>, stop: CancellationToken) {
    let mut failing = false;
    while let Some(Some(wake)) = stop.run_until_cancelled(queue.recv()).await {
        match nats.publish(&wake).await {
            Ok(()) if failing => {
                failing = false;
                tracing::info!("wake-ups can be sent again");
            }
            Ok(()) => {}
            Err(error) if failing => tracing::debug!(%error, "wake-up not sent"),
            Err(error) => {
                failing = true;
                tracing::warn!(%error, "wake-ups cannot be sent; pinners find their work by the sweep");
            }
        }
        if failing && nats.ensure_stream().await.is_err() {
            // Whatever piled up meanwhile is stale.
            while queue.try_recv().is_ok() {}
            stop.run_until_cancelled(tokio::time::sleep(RETRY)).await;
        }
    }
}

/// Receives this node's wake-ups until told to stop.
pub async fn receive(nats: Nats, node: NodeId, bell: Bell, stop: CancellationToken) {
    while !stop.is_cancelled() {
        if let Some(Err(error)) = stop.run_until_cancelled(Box::pin(receive_once(&nats, node, &bell))).await {
            tracing::debug!(%error, "wake-ups are not received; the sweep goes on");
        }
        // Also when the server ended the subscription: it is made anew, and so is what was lost.
        stop.run_until_cancelled(tokio::time::sleep(RETRY)).await;
    }
}

async fn receive_once(nats: &Nats, node: NodeId, bell: &Bell) -> Result<(), NatsError> {
    let server = |error: &dyn std::fmt::Display| NatsError::Server(error.to_string());
    let consumer = nats.consumer(node).await?;
    let mut messages = consumer
        .stream()
        .max_messages_per_batch(BATCH)
        .heartbeat(HEARTBEAT)
        .messages()
        .await
        .map_err(|error| server(&error))?;
    while let Some(message) = messages.next().await {
        let message = message.map_err(|error| server(&error))?;
        if !bell.ring().answered().await {
            return Ok(());
        }
        message.double_ack_with(AckKind::Ack).await.map_err(|error| server(&error))?;
    }
    Ok(())
}
