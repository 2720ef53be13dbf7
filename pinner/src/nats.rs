//! NATS: wake-ups for pinners over JetStream, and announcements to whoever listens. All of it may be lost at any time;
//! the sweep finds the work, and copies are read again now and then (HAZARDS 5).

mod unwritable;

use crate::{config, db::placements::Wake};
use async_nats::{
    Client, ConnectOptions, Event, Subscriber,
    jetstream::{
        self,
        consumer::{AckPolicy, PullConsumer, pull},
        context::PublishErrorKind,
        kv,
        stream::{Config, DiscardPolicy, RetentionPolicy, StorageType},
    },
};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use pinner_core::id::NodeId;
use serde::{Deserialize, Serialize};
use std::{fmt::Write as _, sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};
use unwritable::Unwritable;

/// The work queue.
pub const STREAM: &str = "ANCHORAGE_WORK";
/// A wake-up older than this has long been overtaken by the sweep.
const MESSAGE_MAX_AGE: Duration = Duration::from_secs(3600);
/// How much the queue may hold; beyond, publishing fails and the sweep does the work.
const STREAM_MAX_BYTES: i64 = 64 * 1024 * 1024;
/// How much a bucket may hold: some keys of some bytes.
const BUCKET_MAX_BYTES: i64 = 1024 * 1024;
/// How long a pinner may take to note a wake-up.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// A pinner's consumer is forgotten when nobody used it for this long.
const CONSUMER_INACTIVE: Duration = Duration::from_secs(24 * 3600);

/// Why something was not done. Nothing depends on it.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// A setting cannot be used.
    #[error("nats.{0}")]
    Config(String),
    /// The server did not do it.
    #[error("NATS: {0}")]
    Server(String),
}

impl NatsError {
    pub(crate) fn server(error: impl std::fmt::Display) -> Self {
        Self::Server(error.to_string())
    }
}

/// What a wake-up carries: a job and its generation, and nothing about anybody's pins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The job.
    pub job: i64,
    /// Its generation when the message was sent.
    pub generation: i64,
}

/// A connection that comes back by itself.
#[derive(Clone)]
pub struct Nats {
    client: Client,
    context: jetstream::Context,
    replicas: usize,
    /// Counts the moments in which messages may have been missed.
    missed: watch::Sender<u64>,
    unwritable: Arc<Unwritable>,
}

impl Nats {
    /// Begins to connect and goes on in the background for as long as it takes. Errors only on settings that can
    /// never work.
    pub async fn connect(config: &config::Nats, name: &str) -> Result<Self, NatsError> {
        let Servers { urls, login } = Servers::parse(config.url.expose())?;
        let missed = watch::Sender::new(0);
        let missed_by_events = missed.clone();
        let mut options = ConnectOptions::new()
            .name(name)
            .retry_on_initial_connect()
            .ping_interval(Duration::from_secs(10))
            .connection_timeout(Duration::from_secs(5))
            .reconnect_delay_callback(|attempts| Duration::from_millis((50 << attempts.min(6)) as u64))
            .event_callback(move |event| {
                if matches!(event, Event::Connected | Event::SlowConsumer(_)) {
                    missed_by_events.send_modify(|number| *number += 1);
                }
                log_event(event)
            });
        if let Some((user, password)) = login {
            options = options.user_and_password(user, password);
        }
        if let Some(credentials) = &config.credentials {
            options = options
                .credentials(credentials.expose())
                .map_err(|error| NatsError::Config(format!("credentials is not a .creds file: {error}")))?;
        }
        let client = options.connect(urls).await.map_err(|error| NatsError::Config(format!("url: {error}")))?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(Duration::from_secs(5));
        Ok(Self { client, context, replicas: config.replicas, missed, unwritable: Arc::default() })
    }

    /// Whether the connection stands at this moment.
    pub fn is_connected(&self) -> bool {
        matches!(self.client.connection_state(), async_nats::connection::State::Connected)
    }

    /// Changes whenever messages may have been missed: after each connection, and when some were dropped because they
    /// were read too slowly.
    pub fn missed(&self) -> watch::Receiver<u64> {
        self.missed.subscribe()
    }

    /// Sends an empty message to each subject, to whoever listens now. Returns once they are on their way; without a
    /// connection that is when there is one again.
    pub async fn tell(&self, subjects: Vec<String>) -> Result<(), NatsError> {
        for subject in subjects {
            self.client.publish(subject, Bytes::new()).await.map_err(NatsError::server)?;
        }
        self.client.flush().await.map_err(NatsError::server)
    }

    /// Listens to a subject, also after the connection was lost and came back. Messages may be missed meanwhile.
    pub async fn hear(&self, subject: String) -> Result<Subscriber, NatsError> {
        self.client.subscribe(subject).await.map_err(NatsError::server)
    }

    /// Makes the stream if it is not there, for example after all data of the servers was lost.
    pub async fn ensure_stream(&self) -> Result<jetstream::stream::Stream, NatsError> {
        let config = Config {
            name: STREAM.into(),
            subjects: vec!["anchorage.work.*".into()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            max_bytes: STREAM_MAX_BYTES,
            max_age: MESSAGE_MAX_AGE,
            num_replicas: self.replicas,
            ..Config::default()
        };
        self.context.get_or_create_stream(config).await.map_err(NatsError::server)
    }

    /// A bucket of keys whose values live for `max_age`; made if it is not there.
    pub async fn bucket(&self, name: &str, max_age: Duration) -> Result<kv::Store, NatsError> {
        if let Ok(store) = self.context.get_key_value(name).await {
            return Ok(store);
        }
        let config = kv::Config {
            bucket: name.to_owned(),
            history: 1,
            max_age,
            max_bytes: BUCKET_MAX_BYTES,
            storage: StorageType::File,
            num_replicas: self.replicas,
            ..kv::Config::default()
        };
        self.context.create_key_value(config).await.map_err(NatsError::server)
    }

    /// The consumer of `node`'s wake-ups.
    pub async fn consumer(&self, node: NodeId) -> Result<PullConsumer, NatsError> {
        let stream = self.ensure_stream().await?;
        let name = node.to_string();
        let config = pull::Config {
            durable_name: Some(name.clone()),
            filter_subject: subject(node),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            // Attempts are counted in Postgres; past a limit here the message would stay in the stream for good.
            max_deliver: -1,
            inactive_threshold: CONSUMER_INACTIVE,
            ..pull::Config::default()
        };
        stream.get_or_create_consumer(&name, config).await.map_err(NatsError::server)
    }

    /// Sends a wake-up and waits until the server has it.
    pub async fn publish(&self, wake: &Wake) -> Result<(), NatsError> {
        let message = Message { job: wake.job, generation: wake.generation };
        let mut id = String::new();
        write!(id, "{}:{}", wake.job, wake.generation).expect("writing to a text cannot fail");
        let payload = serde_json::to_vec(&message).expect("two numbers can be written as JSON");
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(async_nats::header::NATS_MESSAGE_ID, id);
        let sent = self
            .context
            .publish_with_headers(subject(NodeId::from_uuid(wake.node_id)), headers, Bytes::from(payload))
            .await
            .map_err(NatsError::server)?
            .await; // The first await only queues the message (HAZARDS 9).
        let is_answered = !matches!(&sent, Err(error) if error.kind() == PublishErrorKind::TimedOut);
        self.note_write(STREAM, is_answered).await;
        sent.map(drop).map_err(NatsError::server)
    }

    /// Notes whether a write to a stream was answered. One that has taken nothing for a while is given up.
    pub async fn note_write(&self, stream: &str, is_answered: bool) {
        if self.unwritable.note(stream, is_answered, Instant::now()) {
            self.give_up(stream).await;
        }
    }

    /// Deletes a stream that takes nothing any more, though its server tells of it, to be made anew by whoever needs it; see
    /// [`unwritable`].
    pub async fn give_up(&self, stream: &str) {
        if !self.is_connected() || self.context.get_stream(stream).await.is_err() {
            return;
        }
        match self.context.delete_stream(stream).await {
            Ok(_) => tracing::warn!(stream, "NATS stores nothing in this stream any more; it is made anew"),
            Err(error) => tracing::debug!(%error, stream, "a stream that takes nothing was not deleted"),
        }
    }
}

/// The setting `nats.url`, taken apart: the client does not look at a login in a URL.
#[derive(Debug, PartialEq, Eq)]
struct Servers {
    urls: Vec<String>,
    login: Option<(String, String)>,
}

impl Servers {
    /// Takes a list of URLs with commas between them. All of them that have a login have the same one.
    fn parse(list: &str) -> Result<Self, NatsError> {
        let mut servers = Self { urls: Vec::new(), login: None };
        for text in list.split(',').map(str::trim) {
            // Nothing of the text is repeated: it may hold a password.
            let malformed =
                || NatsError::Config("url is not a list of URLs such as nats://user:password@host:4222".into());
            let mut url = reqwest::Url::parse(text).map_err(|_| malformed())?;
            let decoded =
                |part: &str| percent_decode_str(part).decode_utf8().map(String::from).map_err(|_| malformed());
            if !url.username().is_empty() {
                let login = (decoded(url.username())?, decoded(url.password().unwrap_or(""))?);
                if servers.login.as_ref().is_some_and(|other| *other != login) {
                    return Err(NatsError::Config(
                        "url has servers with different logins; give all of them one".into(),
                    ));
                }
                servers.login = Some(login);
            }
            url.set_password(None).and_then(|()| url.set_username("")).map_err(|()| malformed())?;
            servers.urls.push(url.into());
        }
        Ok(servers)
    }
}

fn subject(node: NodeId) -> String {
    format!("anchorage.work.{node}")
}

async fn log_event(event: Event) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => tracing::warn!("lost the connection to NATS; work goes on by the sweep"),
        Event::SlowConsumer(_) => {
            tracing::warn!(
                "NATS dropped messages that were read too slowly; the sweep finds their work, and copies are read again"
            )
        }
        other => tracing::debug!(event = %other, "NATS"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_taken_out_of_the_urls() {
        let servers = Servers::parse("nats://u:p%40ss@a:4222, nats://u:p%40ss@b:4222").unwrap();
        assert_eq!(servers.urls, ["nats://a:4222", "nats://b:4222"]);
        assert_eq!(servers.login, Some(("u".into(), "p@ss".into())));
        assert_eq!(Servers::parse("nats://a:4222").unwrap().login, None);
    }

    #[test]
    fn what_cannot_work_is_refused_without_repeating_a_password() {
        for list in ["", "no url", "nats://u:secret@a,nats://v:secret@b", "nats://u:secret@"] {
            let error = Servers::parse(list).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
