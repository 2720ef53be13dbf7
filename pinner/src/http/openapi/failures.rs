//! The errors that operations have in common, added to the description of each: a handler only names what is its own.

use utoipa::{
    Modify,
    openapi::{
        ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder,
        path::{Operation, ParameterIn, PathItem},
    },
};

/// Adds what can befall any operation of its kind.
pub(super) struct Failures;

impl Modify for Failures {
    fn modify(&self, document: &mut OpenApi) {
        for item in document.paths.paths.values_mut() {
            for operation in operations(item) {
                for (status, description) in of(operation) {
                    let responses = &mut operation.responses.responses;
                    if !responses.get(status).is_some_and(is_told) {
                        responses.insert(status.to_owned(), failure(description));
                    }
                }
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch]
        .into_iter()
        .filter_map(Option::as_mut)
}

/// Whether the handler says itself what this answer means.
fn is_told(response: &RefOr<Response>) -> bool {
    matches!(response, RefOr::T(response) if !response.description.is_empty())
}

/// Status and description of each error that this operation shares with others.
fn of(operation: &Operation) -> Vec<(&'static str, &'static str)> {
    let (mut has_path, mut has_query) = (false, false);
    for parameter in operation.parameters.iter().flatten() {
        if let RefOr::T(parameter) = parameter {
            has_path |= parameter.parameter_in == ParameterIn::Path;
            has_query |= parameter.parameter_in == ParameterIn::Query;
        }
    }
    let has_body = operation.request_body.is_some();
    // Read to its end before anything is done: see `http::body`. What is read as it comes is answered as it comes.
    let has_whole_body = matches!(
        &operation.request_body, Some(RefOr::T(body)) if body.content.contains_key("application/json")
    );
    let mut failures = Vec::new();
    // Probes have neither tokens nor errors in this form.
    if operation.security.is_none() {
        return failures;
    }
    if has_body || has_query {
        failures.push(("400", "The request cannot be read or breaks a rule; `details` says which"));
    }
    failures.push(("401", "No valid token"));
    failures.push(("403", "The token lacks a scope"));
    if has_path {
        failures.push(("404", "Nothing there, or another org's"));
    }
    if has_whole_body {
        failures.push(("408", "The body came too slowly or not at all"));
        failures.push(("413", "The body is too large"));
    }
    failures.push(("503", "Not now; `Retry-After` says when"));
    failures
}

fn failure(description: &str) -> RefOr<Response> {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Failure"))).build();
    RefOr::T(ResponseBuilder::new().description(description).content("application/json", content).build())
}
