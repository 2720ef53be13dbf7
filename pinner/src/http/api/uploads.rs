//! Bytes in, a pin out: a CAR file or any other goes into the Kubo beside us as it comes, and what it is is then pinned
//! like anything else.
//!
//! Where the pin is placed has nothing to do with where it was uploaded. The nodes it is placed on fetch it from here,
//! over the connections that the fleet keeps among its Kubos.

use crate::{
    accept, db,
    http::{
        auth::Uploader,
        detached::detached,
        error::{ApiError, Failure},
        incoming::Incoming,
        wire::PinStatus,
    },
    kubo::{
        KuboError,
        upload::{self, Inlet},
    },
    service::{Ready, Service},
};
use actix_multipart::Multipart;
use actix_web::{HttpRequest, HttpResponse, http::header, web};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use pinner_core::{
    Invalid, car,
    content::SubmittedCid,
    id::OrgId,
    members::Scheduling,
    options::Copies,
    pin::{NewPin, RawPin},
};
use serde::Deserialize;
use std::sync::Arc;
use time::OffsetDateTime;

/// The type of CAR files.
const CAR: &str = "application/vnd.ipld.car";
/// A content without a block, to try what is asked of the pin before its CID is known.
const ANY_CID: &str = "bafkqaaa";

/// What to pin the upload as.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    name: Option<String>,
    meta: Option<String>,
    root: Option<String>,
}

/// Pins the bytes of the body: a CAR file (`application/vnd.ipld.car`, version 1 or 2, of one root or with `root`), or any
/// other file as it is, alone or as the one part of a form. They count against the org's limit of bytes.
#[utoipa::path(post, path = "/api/v1/uploads", tag = "uploads", security(("token" = [])),
    params(
        ("name" = Option<String>, Query, description = "The pin's name", max_length = 255),
        ("meta" = Option<String>, Query, description = "The pin's meta: a JSON object of texts"),
        ("root" = Option<String>, Query, description = "Which CID of a CAR file to pin"),
    ),
    request_body(content_type = "application/octet-stream", content = Vec<u8>, description = "The file; as application/vnd.ipld.car, a CAR file; as multipart/form-data, a form with one file"),
    responses(
        (status = 202, description = "Stored and accepted", body = PinStatus),
        (status = 400, description = "A parameter or the file breaks a rule", body = Failure),
        (status = 401, description = "No valid token", body = Failure),
        (status = 403, description = "The token lacks a scope", body = Failure),
        (status = 408, description = "Nothing came for a minute", body = Failure),
        (status = 409, description = "The org would hold more than it may", body = Failure),
        (status = 413, description = "The file is too large", body = Failure),
        (status = 503, description = "Kubo is away, or this node is to be emptied; later, or on another node", body = Failure),
    ))]
pub async fn upload(
    service: web::Data<Service>,
    uploader: Uploader,
    wish: Result<web::Query<Wish>, actix_web::Error>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let wish = wish.map_err(|error| ApiError::BadRequest(format!("the query cannot be read: {error}")))?.into_inner();
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        return Err(ApiError::BadRequest("Content-Encoding: is not taken here; send the file as it is".into()));
    }
    // Whatever can be said before the first byte is said before it.
    let service = service.into_inner();
    let copies = Copies { min: service.replication.min, max: service.replication.max };
    let asked = new_pin(&wish, wish.root.as_deref().unwrap_or(ANY_CID))?;
    asked.options.resolve(copies, OffsetDateTime::now_utc())?;
    if !*service.ready()?.kubo_ready.borrow() {
        return Err(kubo_away());
    }
    if is_to_be_emptied(service.ready()?) {
        return Err(drained());
    }
    let mut bounds = Bounds::of(&service, uploader.org).await?;
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if let Some(bytes) = declared.filter(|_| !is_form(&request)) {
        bounds.clone().take(bytes)?;
    }
    // Until the upload is noted nothing else spares its blocks from garbage collection.
    let spared = Arc::clone(&service.gates.uploads).read_owned().await;
    let cid = store(&service, &request, payload, wish.root.clone(), &mut bounds).await?;
    let pin = new_pin(&wish, &cid)?;
    let work = Arc::clone(&service);
    let status = detached(&service, async move {
        let _spared = spared;
        let mut tx = work.db.platform().await?;
        // The view of the fleet that let it begin was a beat old, and it may have taken long.
        if !db::uploads::note(&mut tx, work.ready()?.node, pin.cid.key()).await? {
            return Err(drained());
        }
        tx.commit().await?;
        accept::create(&work, uploader.org, &pin).await
    })
    .await?;
    Ok(HttpResponse::Accepted().json(status))
}

fn new_pin(wish: &Wish, cid: &str) -> Result<NewPin, Invalid> {
    let meta = wish.meta.as_deref().map(serde_json::from_str).transpose();
    let meta = meta.map_err(|_| Invalid::new("meta", r#"is not a JSON object of texts such as {"app_id":"x"}"#))?;
    NewPin::parse(RawPin { cid: cid.to_owned(), name: wish.name.clone(), origins: None, meta })
        .map_err(|refusal| if refusal.field == "cid" { Invalid::new("root", refusal.reason) } else { refusal })
}

fn kubo_away() -> ApiError {
    ApiError::Unavailable("this node's Kubo does not answer; try again, or another node".into())
}

/// A node that is to be emptied takes nothing that others would have to fetch from it before it goes.
fn is_to_be_emptied(ready: &Ready) -> bool {
    let nodes = ready.fleet.nodes();
    nodes.iter().any(|node| node.id == ready.node.uuid() && node.asked() == Scheduling::Drained)
}

fn drained() -> ApiError {
    ApiError::Unavailable("this node is being drained and takes no uploads; try again, another node does".into())
}

/// Puts the file into Kubo; gives the CID that it is.
async fn store(
    service: &Service,
    request: &HttpRequest,
    payload: web::Payload,
    root: Option<String>,
    bounds: &mut Bounds,
) -> Result<String, ApiError> {
    let kubo = &service.ready()?.kubo;
    let is_car = |content_type: Option<&str>| {
        content_type.and_then(|text| text.split(';').next()).is_some_and(|text| text.trim().eq_ignore_ascii_case(CAR))
    };
    let (mut file, form, is_car) = if is_form(request) {
        let mut form = Multipart::new(request.headers(), payload);
        let part = tokio::time::timeout(Incoming::IDLE_MAX, form.next()).await.map_err(|_| ApiError::TooSlow)?;
        let part = part.ok_or_else(no_file)?.map_err(|error| broken_form(&error))?;
        let is_car = is_car(part.content_type().map(|mime| mime.essence_str()));
        (Incoming::part(part), Some(form), is_car)
    } else {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        (Incoming::new(payload), None, is_car(content_type))
    };
    if !is_car && root.is_some() {
        return Err(Invalid::new("root", format!("is for CAR files, which have the Content-Type {CAR}")).into());
    }
    let (mut head, mut named) = (BytesMut::new(), root);
    while is_car && named.is_none() {
        let chunk = file.chunk().await?;
        let ended = chunk.is_none();
        if let Some(chunk) = chunk {
            bounds.take(chunk.len() as u64)?;
            head.extend_from_slice(&chunk);
        }
        match car::roots(&head)? {
            Some(roots) => named = Some(only(roots)?),
            None if ended => return Err(Invalid::new("body", "is no CAR file: it ends within its header").into()),
            None => {}
        }
    }
    let (inlet, outlet) = upload::channel();
    let pouring = pour(file, form, head.freeze(), inlet, bounds);
    let cid = match named {
        None => through(pouring, kubo.add_file(outlet)).await?,
        Some(root) => {
            let root = SubmittedCid::parse(&root)?;
            through(pouring, kubo.import_car(outlet)).await?;
            if !kubo.has_block(root.key()).await.map_err(refused)? {
                return Err(Invalid::new("root", "names a block that the CAR file does not hold").into());
            }
            root.as_str().to_owned()
        }
    };
    Ok(cid)
}

fn is_form(request: &HttpRequest) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|text| text.to_ascii_lowercase().starts_with("multipart/form-data"))
}

fn only(mut roots: Vec<String>) -> Result<String, Invalid> {
    match (roots.pop(), roots.len()) {
        (Some(root), 0) => Ok(root),
        (_, others) => {
            let many = if others == 0 { 0 } else { others + 1 };
            Err(Invalid::new("root", format!("is needed: the CAR file names {many} roots; say which CID to pin")))
        }
    }
}

/// Brings the two ends of an upload together: the client's errors before Kubo's, but Kubo's word as soon as it has one.
async fn through<T>(
    pouring: impl Future<Output = Result<(), ApiError>>,
    storing: impl Future<Output = Result<T, KuboError>>,
) -> Result<T, ApiError> {
    let (mut pouring, mut storing) = (std::pin::pin!(pouring), std::pin::pin!(storing));
    tokio::select! {
        biased;
        stored = &mut storing => stored.map_err(refused),
        poured = &mut pouring => {
            poured?;
            storing.await.map_err(refused)
        }
    }
}

/// Puts what comes from the client into Kubo.
async fn pour(
    mut file: Incoming,
    form: Option<Multipart>,
    head: Bytes,
    inlet: Inlet,
    bounds: &mut Bounds,
) -> Result<(), ApiError> {
    // Whoever sees Kubo stop has its answer to wait for, which says why.
    let mut open = head.is_empty() || inlet.put(head).await.is_ok();
    while open && let Some(chunk) = file.chunk().await? {
        bounds.take(chunk.len() as u64)?;
        open = inlet.put(chunk).await.is_ok();
    }
    drop(file);
    if let Some(mut form) = form.filter(|_| open) {
        let further = tokio::time::timeout(Incoming::IDLE_MAX, form.next()).await.map_err(|_| ApiError::TooSlow)?;
        match further {
            None => {}
            Some(Ok(_)) => return Err(ApiError::BadRequest("the form has more than one part; send one file".into())),
            Some(Err(error)) => return Err(broken_form(&error)),
        }
    }
    drop(inlet.finish().await);
    Ok(())
}

fn no_file() -> ApiError {
    ApiError::BadRequest("the form has no part; send one file".into())
}

fn broken_form(error: &actix_multipart::MultipartError) -> ApiError {
    ApiError::BadRequest(format!("the form cannot be read: {error}"))
}

fn refused(error: KuboError) -> ApiError {
    match error {
        KuboError::Refused(why) => ApiError::BadRequest(format!("Kubo does not take the file: {why}")),
        KuboError::Full(why) => {
            tracing::warn!(why, "no room for an upload");
            ApiError::Unavailable("the disk of this node is full; try again, another node may have room".into())
        }
        error @ (KuboError::Unreachable(_) | KuboError::Strange { .. }) => {
            tracing::warn!(%error, "an upload did not reach Kubo");
            kubo_away()
        }
    }
}

/// How much may still come.
#[derive(Debug, Clone)]
struct Bounds {
    /// Of this file.
    file: u64,
    file_max: u64,
    /// Of the org.
    org: Option<u64>,
    org_max: i64,
}

impl Bounds {
    async fn of(service: &Arc<Service>, org: OrgId) -> Result<Self, ApiError> {
        let work = Arc::clone(service);
        let room = detached(service, async move {
            // What is uploaded is pinned after, and that is held to the limits of its moment.
            let Some(most) = work.ready()?.limits.bytes(&work.db, org).await? else { return Ok(None) };
            let usage = db::usage::of(&work.db, org).await?;
            let most = usage.max_bytes.unwrap_or(most);
            Ok(Some((most, u64::try_from(most.saturating_sub(usage.bytes)).unwrap_or(0))))
        })
        .await?;
        Ok(Self {
            file: service.upload_max,
            file_max: service.upload_max,
            org: room.map(|(_, left)| left),
            org_max: room.map_or(i64::MAX, |(most, _)| most),
        })
    }

    /// Some bytes came, or will.
    fn take(&mut self, bytes: u64) -> Result<(), ApiError> {
        self.file = self.file.checked_sub(bytes).ok_or_else(|| {
            let most = self.file_max;
            ApiError::Oversized(format!("the file has more than {most} bytes, which is the most that is taken here"))
        })?;
        if let Some(left) = &mut self.org {
            *left = left.checked_sub(bytes).ok_or_else(|| {
                let most = self.org_max;
                ApiError::OverLimit(format!("the org may hold {most} bytes and this file is more than what is left: delete pins, or ask whoever runs the platform for more"))
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(file: u64, org: Option<u64>) -> Bounds {
        Bounds { file, file_max: file, org, org_max: 0 }
    }

    #[test]
    fn a_file_may_have_as_many_bytes_as_it_may_and_not_one_more() {
        let mut exact = bounds(10, Some(20));
        assert!(exact.take(4).is_ok() && exact.take(6).is_ok() && exact.take(0).is_ok());
        assert!(matches!(exact.take(1), Err(ApiError::Oversized(_))));
        let mut full = bounds(30, Some(20));
        assert!(full.take(20).is_ok());
        assert!(matches!(full.take(1), Err(ApiError::OverLimit(_))));
        assert!(matches!(bounds(30, Some(0)).take(u64::MAX), Err(ApiError::Oversized(_))));
    }

    #[test]
    fn a_car_file_has_one_root_or_says_which() {
        assert_eq!(only(vec!["a".into()]).unwrap(), "a");
        assert!(only(vec![]).unwrap_err().reason.contains("0 roots"));
        assert!(only(vec!["a".into(), "b".into()]).unwrap_err().reason.contains("2 roots"));
    }
}
