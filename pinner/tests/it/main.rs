//! Tests of the service from outside: the real program, on real Postgres, NATS and Kubo.
//!
//! One binary, so that the containers are started once. Each test has a database of its own; where Kubo must fail in a
//! way that the real one cannot be made to, a recording fake stands in for it ([`stage::fake_kubo`]).

#![expect(clippy::unwrap_used, reason = "everything here is a test")]

mod stage;

mod admin_cli;
mod bad_input;
mod belt;
mod bulk;
mod changes;
mod cors;
mod counts;
mod deadlines;
mod drains;
mod errors;
mod garbage;
mod garbage_put_off;
mod gauges;
mod hangups;
mod histories;
mod keys;
mod kubo_faults;
mod lanes;
mod leading;
mod life_of_a_pin;
mod limits;
mod members;
mod outages;
mod pages;
mod pins_api;
mod pool;
mod probes;
mod readme;
mod retries;
mod revocation;
mod shared_blocks;
mod shared_content;
mod tenancy;
mod tokens;
mod two_pinners;
mod uploads;
mod waiting_uploads;
