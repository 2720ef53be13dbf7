//! What a client of the pinning API sends, described. It is parsed by `pinner_core::pin` and `pinner_core::filter`.

use std::collections::BTreeMap;
use utoipa::{
    IntoParams, ToSchema,
    openapi::{
        ArrayBuilder, ContentBuilder, KnownFormat, ObjectBuilder, Ref, Required, Schema, SchemaFormat, Type,
        path::{Parameter, ParameterBuilder, ParameterIn, ParameterStyle},
        schema::SchemaType,
    },
};

/// Texts that Postgres can store.
const WITHOUT_NUL: &str = r"^[^\u0000]*$";

/// A CID of version 0 or 1, alone: no path, no `/ipfs/` before it.
#[derive(ToSchema)]
#[schema(format = "cid", example = "bafybeie5nqv6kd3qnfjupgvz34woh3oksc3iau6abmyajn7qvtf6d2ho34", max_length = 512)]
#[expect(dead_code, reason = "a description; requests are parsed into pinner_core::content::SubmittedCid")]
pub(super) struct Cid(String);

/// What a client sends to pin something.
#[derive(ToSchema)]
#[expect(dead_code, reason = "a description; requests are parsed into pinner_core::pin::RawPin")]
pub struct PinRequest {
    /// The CID to pin.
    cid: Cid,
    /// A label, at most 255 characters.
    #[schema(max_length = 255, pattern = r"^[^\u0000]*$")]
    name: Option<String>,
    /// Peers that have the content. Those that cannot be used are left out, never refused.
    origins: Option<Vec<String>>,
    /// At most 1,000 pairs and 16 KiB.
    #[schema(schema_with = meta_or_null)]
    meta: Option<BTreeMap<String, String>>,
}

/// Where a pin stands.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Status {
    /// Accepted, waiting for a node to take it up.
    Queued,
    /// Nodes are fetching the content.
    Pinning,
    /// Enough nodes hold the content.
    Pinned,
    /// Given up.
    Failed,
}

/// Pairs of texts, or null as if they were left out.
fn meta_or_null() -> Schema {
    meta(&[Type::Object, Type::Null])
}

/// Pairs of texts.
fn meta(types: &[Type]) -> Schema {
    let text = || ObjectBuilder::new().schema_type(Type::String).pattern(Some(WITHOUT_NUL));
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter(types.iter().cloned()))
        .property_names(Some(text()))
        .additional_properties(Some(Schema::from(text())))
        .max_properties(Some(1000))
        .into()
}

/// The query of `GET /pins`.
pub struct PinsQuery;

impl IntoParams for PinsQuery {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let one = |name: &str, description: &str| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .required(Required::False)
                .description(Some(description))
        };
        let list = |name: &str, description: &str, items: Ref, max: usize| {
            let items = ArrayBuilder::new().items(items).min_items(Some(1)).max_items(Some(max)).unique_items(true);
            one(name, description).schema(Some(items)).style(Some(ParameterStyle::Form)).explode(Some(false)).build()
        };
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let time = || text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
        let matches = text().enum_values(Some(["exact", "iexact", "partial", "ipartial"]));
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
            .minimum(Some(1))
            .maximum(Some(1000))
            .default(Some(10.into()));
        vec![
            list("cid", "Any of these; CIDv0 and CIDv1 are equal", Ref::from_schema_name("Cid"), 10),
            one("name", "The pin's name").schema(Some(text().max_length(Some(255)).pattern(Some(WITHOUT_NUL)))).build(),
            one("match", "How the name is compared").schema(Some(matches.default(Some("exact".into())))).build(),
            list(
                "status",
                "Any of these; without it, `pinned`; with a name and without it, all",
                Ref::from_schema_name("Status"),
                4,
            ),
            one("before", "Created strictly before").schema(Some(time())).build(),
            one("after", "Created strictly after").schema(Some(time())).build(),
            one("limit", "Results in the answer").schema(Some(limit)).build(),
            one("meta", "Pairs that the pin's meta must contain, as a JSON object")
                .content("application/json", ContentBuilder::new().schema(Some(meta(&[Type::Object]))).build())
                .build(),
        ]
    }
}
