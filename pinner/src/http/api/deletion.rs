//! Deleting many pins by one request: by id, or those that a list would show.

use crate::{
    accept,
    db::pins,
    http::{
        auth::Writer,
        body::{Body, json},
        detached::detached,
        error::{ApiError, Failure},
    },
    service::Service,
};
use actix_web::web;
use pinner_core::{Invalid, filter::Filter, id::PinId, pin::Status};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc};
use utoipa::ToSchema;

/// The most pins that one request deletes.
const PINS_MAX: usize = 1_000;
/// The keys of a filter: the parameters of `GET /pins`.
const KEYS: [&str; 8] = ["cid", "name", "match", "status", "before", "after", "limit", "meta"];

/// Which pins to delete: exactly one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteRequest {
    /// These, 1 to 1,000.
    pub requestids: Option<Vec<String>>,
    /// Those that `GET /pins` would list with these parameters, newest first, up to `limit` of them, 1,000 when left
    /// out. At least one parameter beside `limit`. Lists may be JSON lists or texts with commas.
    #[schema(value_type = Option<Object>, example = json!({"status": ["failed"], "before": "2026-01-01T00:00:00Z"}))]
    pub filter: Option<Map<String, Value>>,
}

/// What was deleted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    /// How many pins this request deleted.
    pub deleted: usize,
    /// Of the ids given, those that are no pin of the org.
    pub not_found: Vec<String>,
    /// Whether pins that match the filter were left; ask again for those.
    pub more: bool,
}

/// Deletes many pins in one step: all of those that are there, or, when the answer is an error, none.
#[utoipa::path(post, path = "/api/v1/pins/delete", tag = "bulk", security(("token" = [])), request_body = DeleteRequest,
    responses((status = 200, description = "Deleted", body = Deleted), (status = 400, body = Failure),
        (status = 401, body = Failure), (status = 403, body = Failure), (status = 413, body = Failure)))]
pub async fn delete(service: web::Data<Service>, writer: Writer, body: Body) -> Result<web::Json<Deleted>, ApiError> {
    let wish = Wish::parse(json(body)?)?;
    let service = service.into_inner();
    let work = Arc::clone(&service);
    detached(&service, async move {
        match wish {
            Wish::Ids(ids) => {
                let known: Vec<PinId> = ids.values().copied().flatten().collect();
                let deleted = accept::bulk::delete(&work, writer.org, &known, &Status::ALL.into()).await?;
                let is_gone = |id: &Option<PinId>| id.is_some_and(|id| deleted.contains(&id));
                let not_found = ids.into_iter().filter(|(_, id)| !is_gone(id)).map(|(text, _)| text).collect();
                Ok(web::Json(Deleted { deleted: deleted.len(), not_found, more: false }))
            }
            Wish::Matching(filter) => {
                let page = pins::list(&work.db, writer.org, &filter).await?;
                let more = page.count > page.rows.len() as i64;
                let ids: Vec<PinId> = page.rows.iter().map(|(row, _)| PinId::from_uuid(row.id)).collect();
                let deleted = accept::bulk::delete(&work, writer.org, &ids, &filter.statuses).await?.len();
                Ok(web::Json(Deleted { deleted, not_found: vec![], more }))
            }
        }
    })
    .await
}

#[derive(Debug)]
enum Wish {
    /// Each text that was given once, with the id that it is.
    Ids(BTreeMap<String, Option<PinId>>),
    Matching(Filter),
}

impl Wish {
    fn parse(request: DeleteRequest) -> Result<Self, Invalid> {
        match (request.requestids, request.filter) {
            (Some(ids), None) if ids.is_empty() || ids.len() > PINS_MAX => {
                Err(Invalid::new("requestids", format!("has {} ids; 1 to {PINS_MAX} are allowed", ids.len())))
            }
            (Some(ids), None) => {
                let parsed = |text: String| {
                    let id = text.parse().ok();
                    (text, id)
                };
                Ok(Self::Ids(ids.into_iter().map(parsed).collect()))
            }
            (None, Some(filter)) => Ok(Self::Matching(matching(&filter)?)),
            _ => Err(Invalid::new("requestids", "or filter: give exactly one of the two")),
        }
    }
}

/// A filter given as JSON. One that names nothing is refused, and so is a key that we do not know: whoever mistypes one
/// must not delete more than was meant.
fn matching(filter: &Map<String, Value>) -> Result<Filter, Invalid> {
    if let Some(unknown) = filter.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(Invalid::new("filter", format!("has the unknown key {unknown:?}; known are {}", KEYS.join(", "))));
    }
    if filter.keys().all(|key| key == "limit") {
        return Err(Invalid::new("filter", "names nothing; give at least one key beside limit, such as status"));
    }
    let mut pairs = BTreeMap::from([("limit", PINS_MAX.to_string())]);
    for (key, value) in filter {
        pairs.insert(key, text(value)?);
    }
    Filter::parse(pairs.iter().map(|(key, value)| (*key, value.as_str())))
}

/// A value as the query of a list would hold it.
fn text(value: &Value) -> Result<String, Invalid> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Object(_) => Ok(value.to_string()),
        Value::Array(values) => {
            let texts: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
            texts.map(|texts| texts.join(",")).ok_or_else(|| Invalid::new("filter", "has a list of other than texts"))
        }
        Value::Null | Value::Bool(_) => Err(Invalid::new("filter", format!("has the value {value}, which none takes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(request: Value) -> Result<Wish, Invalid> {
        Wish::parse(serde_json::from_value(request).unwrap())
    }

    #[test]
    fn ids_are_1_to_1000_and_each_counts_once() {
        let ids = |n: usize| json!({"requestids": (0..n).map(|n| n.to_string()).collect::<Vec<_>>()});
        assert!(parse(ids(1)).is_ok() && parse(ids(1_000)).is_ok());
        assert_eq!(parse(ids(0)).unwrap_err().field, "requestids");
        assert_eq!(parse(ids(1_001)).unwrap_err().field, "requestids");
        let Wish::Ids(twice) = parse(json!({"requestids": ["x", "x"]})).unwrap() else { panic!() };
        assert_eq!(twice.len(), 1);
    }

    #[test]
    fn a_filter_is_the_query_of_a_list() {
        let Wish::Matching(filter) = parse(json!({"filter": {
            "status": ["failed", "queued"], "name": "x", "match": "partial", "limit": 7, "meta": {"a": "b"},
        }}))
        .unwrap() else {
            panic!()
        };
        let query = [
            ("status", "failed,queued"),
            ("name", "x"),
            ("match", "partial"),
            ("limit", "7"),
            ("meta", r#"{"a":"b"}"#),
        ];
        assert_eq!(filter, Filter::parse(query).unwrap());
        let Wish::Matching(all) = parse(json!({"filter": {"status": "queued,pinning,pinned,failed"}})).unwrap() else {
            panic!()
        };
        assert_eq!(all.limit, 1_000);
    }

    #[test]
    fn what_may_have_been_meant_otherwise_deletes_nothing() {
        for (request, says) in [
            (json!({}), "exactly one"),
            (json!({"requestids": ["x"], "filter": {"status": "failed"}}), "exactly one"),
            (json!({"filter": {}}), "names nothing"),
            (json!({"filter": {"limit": 10}}), "names nothing"),
            (json!({"filter": {"state": "failed"}}), "unknown key"),
            (json!({"filter": {"status": []}}), "status"),
            (json!({"filter": {"status": [1]}}), "list"),
            (json!({"filter": {"status": null}}), "null"),
            (json!({"filter": {"status": "failed", "limit": 1_001}}), "limit"),
            (json!({"filter": {"status": "failed", "limit": 0}}), "limit"),
        ] {
            let refusal = parse(request.clone()).unwrap_err().to_string();
            assert!(refusal.contains(says), "{request}: {refusal}");
        }
    }
}
