//! The rules of Anchorage, without input or output.
//!
//! Everything here is a function over plain data: no clock, no chance, no network, no database. The crate
//! `anchorage` reads the world, asks these functions what to do, and does it. In reading order:
//!
//! - [`id`]: identifiers of orgs, pins, nodes and tokens.
//! - [`content`]: a CID as submitted, and the key under which its content is held once for all orgs.
//! - [`pin`]: what a client may ask for, parsed; the four statuses.
//! - [`options`]: what a client asks of a pin through its `meta`.
//! - [`filter`]: the query of a list of pins, parsed.
//! - [`car`]: which roots an uploaded file names.
//! - [`address`]: which network addresses may be dialled or handed out.
//! - [`placement`]: which nodes hold a content.
//! - [`map`]: for each partition its nodes, in order; as bytes; what moves from one map to the next.
//! - [`plan`]: the next map from the last one, moving as little as can be.
//! - [`members`]: which nodes a map is made of.
//! - [`arrange`]: what to do about a content so that it comes to be where the map wants it.
//! - [`drain`]: what the emptying of a node waits for.
//! - [`lane`]: which placements are taken next.
//! - [`attempt`]: how long an attempt may go on, and why it ends.
//! - [`retry`]: what follows a failed attempt.
//! - [`garbage`]: whether a collection of garbage waits for fetches.
//! - [`scope`]: what a token may do.

pub mod address;
pub mod arrange;
pub mod attempt;
pub mod car;
pub mod content;
pub mod drain;
pub mod filter;
pub mod garbage;
pub mod id;
pub mod invalid;
pub mod lane;
pub mod map;
pub mod members;
pub mod options;
pub mod pin;
pub mod placement;
pub mod plan;
pub mod retry;
pub mod scope;

pub use invalid::Invalid;
