//! Whether a token is good at this moment, by a copy of the signing keys and of the denylist that is never older than
//! [`MAX_AGE`].
//!
//! The copy is read again every second, and at once when a change is announced; so a revoked token is refused
//! everywhere within [`MAX_AGE`], also without NATS. A pinner that cannot read it again for longer than that accepts no
//! token at all: it does not know which were revoked.

use super::{Grant, TokenKeys, TokenRefused};
use crate::{
    cache::{Cache, Tally},
    changed::Watch,
    config::Secret,
    db::{Database, tokens},
};
use sqlx::PgConnection;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The oldest copy by which a token is accepted. Below the five seconds within which a revoked token is refused
/// everywhere, and well below `key_notice()` of the migrations.
const MAX_AGE: Duration = Duration::from_secs(4);
/// Time between two looks at the database.
const EVERY: Duration = Duration::from_secs(1);
/// Time between two looks while the database does not answer.
const RETRY: Duration = Duration::from_millis(250);
/// How long the database may take to answer before the connection is given up for a new one.
const READ_WITHIN: Duration = Duration::from_secs(2);
/// How long a request waits for a copy that is young enough.
const WAIT: Duration = Duration::from_secs(3);

/// Nobody can say at this moment whether a token is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("which tokens were revoked cannot be read, so none is accepted: the database does not answer")]
pub struct Unknown;

/// What is known of tokens.
pub struct Known {
    /// The keys in use.
    pub keys: TokenKeys,
    /// Revoked tokens that would still be good, with their ends as seconds since 1970.
    pub revoked: HashMap<Uuid, i64>,
    /// The version of keys and denylist.
    pub version: i64,
}

impl Known {
    /// Checks a token as of `now`.
    pub fn verify(&self, token: &str, now: OffsetDateTime) -> Result<Grant, TokenRefused> {
        let grant = self.keys.verify(token, now)?;
        if self.revoked.contains_key(&grant.id.uuid()) {
            return Err(TokenRefused::Revoked);
        }
        Ok(grant)
    }
}

/// Checks tokens.
pub struct Checker {
    root: Secret,
    copy: Cache<(), Arc<Known>>,
    /// What was last read, however old: most of the next copy.
    last: watch::Sender<Option<Arc<Known>>>,
    /// Rung by whoever cannot wait for the next look.
    wanted: Notify,
    /// When what was last read was asked for: an answer that took longer than a later one is dropped.
    asked: Mutex<Instant>,
}

impl Checker {
    /// A checker that knows nothing yet.
    pub fn new(root: Secret, tally: Tally) -> Self {
        Self {
            root,
            copy: Cache::new(1, MAX_AGE, tally),
            last: watch::Sender::new(None),
            wanted: Notify::new(),
            asked: Mutex::new(Instant::now()),
        }
    }

    /// The copy at hand, if it is young enough: then [`Self::known`] would not wait. Counts a look.
    pub fn at_hand(&self) -> Option<Arc<Known>> {
        self.copy.get(&())
    }

    /// A copy that is young enough, waited for if need be. To be called where [`Self::at_hand`] gave none.
    ///
    /// # Errors
    /// When the database gave none for three seconds.
    pub async fn known(&self) -> Result<Arc<Known>, Unknown> {
        let mut read = self.last.subscribe();
        let young = async {
            loop {
                if let Some(known) = self.copy.peek(&()) {
                    return known;
                }
                self.wanted.notify_one();
                if read.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(WAIT, young).await.map_err(|_| Unknown)
    }

    /// How many tokens are revoked as far as is known, and the version of what is known.
    pub fn extent(&self) -> (usize, i64) {
        self.last.borrow().as_ref().map_or((0, 0), |known| (known.revoked.len(), known.version))
    }

    /// How old the copy may be.
    pub fn max_age(&self) -> Duration {
        self.copy.max_age()
    }

    /// Reads what is new. Gives whether the time of an announced key has come.
    ///
    /// # Errors
    /// What the database says; what is known stays and gets older.
    pub async fn read(&self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        let (asked, asked_at) = (self.copy.asked(), Instant::now());
        let state = tokens::state(connection).await?;
        let last = self.last.borrow().clone();
        let known = match last {
            Some(last) if last.version == state.version => last,
            last => Arc::new(self.news(connection, last.as_deref(), state.version).await?),
        };
        let mut newest = self.asked.lock().expect("nobody panics while holding this lock");
        if asked_at >= *newest {
            *newest = asked_at;
            self.copy.put(asked, (), Arc::clone(&known));
            self.last.send_replace(Some(known));
        }
        Ok(state.key_due)
    }

    /// The state of tokens at `version` or after.
    async fn news(&self, connection: &mut PgConnection, last: Option<&Known>, version: i64) -> sqlx::Result<Known> {
        // A version that went back is that of a database which was restored: nothing of before counts.
        let last = last.filter(|last| last.version < version);
        let rows = tokens::signing_keys(connection).await?;
        let new = tokens::revoked_since(connection, last.map_or(-1, |last| last.version)).await?;
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let mut revoked = last.map(|last| last.revoked.clone()).unwrap_or_default();
        revoked.extend(new.iter().map(|row| (row.id, row.expires.unix_timestamp())));
        // Later than any leeway: these are refused for their time.
        revoked.retain(|_, expires| *expires > now - 60);
        Ok(Known { keys: TokenKeys::derive(self.root.expose(), &rows), revoked, version })
    }
}

/// Keeps the copy young until told to stop, over a connection of its own: requests that take all others do not keep it
/// from being read.
pub async fn run(checker: Arc<Checker>, db: Database, mut announced: Watch, stop: CancellationToken) {
    let mut connection = None;
    let mut failing = false;
    while !stop.is_cancelled() {
        // What is cut off in the middle of an answer is not used again (HAZARDS 1).
        let result = tokio::time::timeout(READ_WITHIN, look(&checker, &db, connection.take())).await;
        let every = match result {
            Ok(Ok(healthy)) => {
                connection = Some(healthy);
                if failing {
                    tracing::info!("revoked tokens and signing keys can be read again");
                }
                failing = false;
                EVERY
            }
            failure => {
                let why = failure.map_or_else(
                    |_| "no answer in time".to_owned(),
                    |error| error.err().map_or_else(String::new, |error| error.to_string()),
                );
                if !failing {
                    tracing::warn!(why, "cannot read which tokens are revoked; soon no token is accepted");
                }
                failing = true;
                RETRY
            }
        };
        let wait = async {
            tokio::select! {
                () = tokio::time::sleep(every) => {}
                () = announced.changed() => {}
                () = checker.wanted.notified(), if every == EVERY => {}
            }
        };
        stop.run_until_cancelled(wait).await;
    }
}

async fn look(checker: &Checker, db: &Database, connection: Option<PgConnection>) -> sqlx::Result<PgConnection> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => db.lane().await?,
    };
    if checker.read(&mut connection).await? && tokens::advance_keys(&mut connection).await? {
        tracing::info!("a new key signs tokens from now on");
        checker.read(&mut connection).await?;
    }
    Ok(connection)
}
