//! Lanes in which new pins are written: those that arrive while a commit is under way share the next one.
//!
//! A lane owns a connection and takes whatever waits for it as soon as it is free, so a lone pin waits for nobody. An org
//! always has the same lane of a pinner, so lanes never wait for each other's orgs. The work belongs to the lane, not
//! to the request: a client that hangs up changes nothing.
//!
//! Nobody begins a transaction on a lane's connection: each batch is a statement that commits by itself, and answers are
//! given once the database is done with it (HAZARDS 1). If the connection breaks in the middle nobody knows
//! whether that was before or after the commit. Then the pins are looked up by their ids, which are ours; what is not
//! there is written once more under the same ids, which the primary key lets in only once.

use super::is_deadlock;
use crate::{
    db::{
        Database,
        batch::{self, NewRow, Verdict, Written},
        pins,
    },
    http::error::ApiError,
    metrics::Metrics,
    wake::Waker,
};
use pinner_core::id::OrgId;
use sqlx::{Connection, PgConnection};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How many lanes a pinner has: while one waits for its commit the other one prepares the next.
const LANES: usize = 2;
/// The most pins of one commit.
const BATCH_MAX: usize = 256;
/// Pins that may wait in a lane. At the slowest commits still less than a client is ready to wait.
const QUEUE_MAX: usize = 8_192;
/// How often a batch is tried.
const TRIES: usize = 4;
/// How long connecting may take.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a statement may take, before the connection is taken for broken.
const STATEMENT_MAX: Duration = Duration::from_secs(20);

/// Where requests leave their pins.
pub struct Lanes {
    queues: Vec<mpsc::Sender<Request>>,
    closing: CancellationToken,
}

struct Request {
    row: NewRow,
    answer: oneshot::Sender<Result<Verdict, ApiError>>,
}

impl Lanes {
    /// The lanes, and what has to [`Lane::run`] for each.
    pub fn new(db: &Database, waker: &Waker, metrics: &Arc<Metrics>) -> (Self, Vec<Lane>) {
        let closing = CancellationToken::new();
        let (queues, lanes) = (0..LANES)
            .map(|_| {
                let (sender, queue) = mpsc::channel(QUEUE_MAX);
                let lane = Lane {
                    queue,
                    closing: closing.clone(),
                    connection: None,
                    db: db.clone(),
                    waker: waker.clone(),
                    metrics: Arc::clone(metrics),
                };
                (sender, lane)
            })
            .unzip();
        (Self { queues, closing }, lanes)
    }

    /// Writes a pin, and says what became of it once that is certain.
    pub async fn write(&self, row: NewRow) -> Result<Verdict, ApiError> {
        let (answer, answered) = oneshot::channel();
        let queue = &self.queues[lane_of(row.org)];
        match queue.try_send(Request { row, answer }) {
            Ok(()) => answered.await.unwrap_or(Err(ApiError::Internal)),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(ApiError::Unavailable("too many pins are waiting to be written; try again".into()))
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                Err(ApiError::Unavailable("this pinner is stopping; try again".into()))
            }
        }
    }

    /// Takes no further pins; the lanes end once they have written what waits.
    pub fn close(&self) {
        self.closing.cancel();
    }
}

fn lane_of(org: OrgId) -> usize {
    (org.uuid().as_u128() % LANES as u128) as usize
}

/// One connection and what waits for it.
pub struct Lane {
    queue: mpsc::Receiver<Request>,
    closing: CancellationToken,
    connection: Option<PgConnection>,
    db: Database,
    waker: Waker,
    metrics: Arc<Metrics>,
}

/// Why a batch was not written, or not for certain.
enum Failure {
    /// There is no connection; nothing was sent.
    NotSent(sqlx::Error),
    /// The database refused, or the connection broke.
    Statement(sqlx::Error),
}

/// What follows a failure.
enum Next {
    /// Nothing was done; the same again.
    Again,
    /// Nobody knows what was done.
    LookUp,
    /// One of the rows is at fault.
    Halve,
    /// Nothing more.
    GiveUp,
}

impl Lane {
    /// Writes until the lanes are closed and nothing waits any more.
    pub async fn run(mut self) {
        let mut requests = Vec::with_capacity(BATCH_MAX);
        loop {
            let received = tokio::select! {
                biased;
                received = self.queue.recv_many(&mut requests, BATCH_MAX) => received,
                () = self.closing.cancelled(), if !self.queue.is_closed() => {
                    self.queue.close();
                    continue;
                }
            };
            if received == 0 {
                break;
            }
            self.write(std::mem::take(&mut requests)).await;
        }
        if let Some(connection) = self.connection.take() {
            drop(connection.close().await);
        }
    }

    async fn write(&mut self, requests: Vec<Request>) {
        let mut todo = vec![(requests, 1)];
        while let Some((mut requests, tries)) = todo.pop() {
            if requests.is_empty() {
                continue;
            }
            match self.try_write(&requests).await {
                Ok(written) => self.answer(requests, written, tries).await,
                Err(failure) => match next(&failure, requests.len(), tries) {
                    Next::Again => todo.push((requests, tries + 1)),
                    Next::LookUp => {
                        self.connection = None;
                        let missing = self.answer_those_written(requests).await;
                        todo.push((missing, tries + 1));
                    }
                    Next::Halve => {
                        let rest = requests.split_off(requests.len() / 2);
                        todo.extend([(rest, tries), (requests, tries)]);
                    }
                    Next::GiveUp => {
                        // It may be broken, and the next batch has a try less on a broken one.
                        self.connection = None;
                        let (Failure::NotSent(error) | Failure::Statement(error)) = failure;
                        refuse(requests, error);
                    }
                },
            }
        }
    }

    async fn try_write(&mut self, requests: &[Request]) -> Result<Written, Failure> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let connecting = timeout(CONNECT_MAX, self.db.lane()).await;
                let connection = connecting.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(Failure::NotSent)?;
                none.insert(connection)
            }
        };
        let rows: Vec<_> = requests.iter().map(|request| &request.row).collect();
        let written = timeout(STATEMENT_MAX, batch::write(connection, &rows)).await;
        written.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(Failure::Statement)
    }

    async fn answer(&self, requests: Vec<Request>, written: Written, tries: usize) {
        self.waker.wake(&written.wakes);
        for (request, verdict) in requests.into_iter().zip(written.verdicts) {
            match verdict {
                // An earlier try may have written it after it was looked for, so that it is in its own way.
                Verdict::OverLimit { .. } if tries > 1 => match self.written(&request.row).await {
                    Ok(found) => self.tell(request, found.unwrap_or(verdict)),
                    Err(error) => refuse(vec![request], error),
                },
                verdict => self.tell(request, verdict),
            }
        }
    }

    /// Answers those whose pins are there, and gives back the others. When the database cannot say it refuses all.
    async fn answer_those_written(&self, requests: Vec<Request>) -> Vec<Request> {
        let mut missing = Vec::new();
        for request in requests {
            match self.written(&request.row).await {
                Ok(Some(verdict)) => self.tell(request, verdict),
                Ok(None) => missing.push(request),
                Err(error) => refuse(vec![request], error),
            }
        }
        missing
    }

    /// What became of a row that may have been written, if it was.
    async fn written(&self, row: &NewRow) -> sqlx::Result<Option<Verdict>> {
        let found = pins::read(&self.db, row.org, row.id).await?;
        Ok(found.map(|(pin, progress)| Verdict::Accepted { created: pin.created, status: pin.status, progress }))
    }

    fn tell(&self, request: Request, verdict: Verdict) {
        self.metrics.pins_accepted(u64::from(matches!(verdict, Verdict::Accepted { .. })));
        // Whoever asked may have gone.
        drop(request.answer.send(Ok(verdict)));
    }
}

fn next(failure: &Failure, rows: usize, tries: usize) -> Next {
    let Failure::Statement(error) = failure else { return Next::GiveUp };
    let code = error.as_database_error().and_then(|refusal| refusal.code());
    match code.as_deref() {
        _ if is_deadlock(error) && tries < TRIES => Next::Again,
        // The session or the server ends: before or after the commit.
        Some(code) if code.starts_with("57P") || code.starts_with("08") => look_up(tries),
        // Full or busy: true of every row.
        Some(code) if code.starts_with("53") || code.starts_with("57") || code.starts_with("40") => Next::GiveUp,
        Some(_) if rows > 1 => Next::Halve,
        // An earlier try of the same row did commit.
        Some("23505") => look_up(tries),
        Some(_) => Next::GiveUp,
        None => look_up(tries),
    }
}

fn look_up(tries: usize) -> Next {
    if tries < TRIES { Next::LookUp } else { Next::GiveUp }
}

fn refuse(requests: Vec<Request>, error: sqlx::Error) {
    let passing = matches!(ApiError::from(error), ApiError::Unavailable(_));
    for request in requests {
        let refusal = if passing {
            ApiError::Unavailable("the database does not answer; try again".into())
        } else {
            ApiError::Internal
        };
        drop(request.answer.send(Err(refusal)));
    }
}
