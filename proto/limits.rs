//! Sizes and times that both ends of the contract must agree on.

use std::time::Duration;

/// Version of the agent stream's protocol that this build speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// Largest gRPC message accepted anywhere, in bytes. gRPC's own default.
pub const MESSAGE_BYTES: usize = 4 << 20;

/// Largest request of a unary call, in bytes.
pub const REQUEST_BYTES: usize = 1 << 20;

/// Largest REST body accepted, in bytes; more is answered with 413.
pub const BODY_BYTES: usize = REQUEST_BYTES;

/// Longest time span anywhere, in seconds: 10,000 years, as the definition of `google.protobuf.Duration` has it.
pub const SPAN_SECONDS: u64 = 315_576_000_000;

/// Messages inside of one message that is taken in, those of lists and entries of maps included.
pub const SUB_MESSAGES: usize = 20_000;

/// Memory that one message may take once it is decoded, in bytes, as it is estimated before.
pub const DECODED_BYTES: usize = 32 << 20;

/// Targets in one `TargetsChanged`, so that a long roster stays far below [`MESSAGE_BYTES`].
pub const TARGETS_PER_MESSAGE: usize = 1000;

/// HTTP/2 connection window, in bytes. h2 ends a connection that queues many tiny frames in a smaller one.
pub const CONNECTION_WINDOW: u32 = 1 << 20;

/// HTTP/2 stream window, in bytes.
pub const STREAM_WINDOW: u32 = 65_535;

/// A peer that has not sent its Hello (or its first request) within this time is cut off.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest agent id, in bytes.
pub const AGENT_ID_BYTES: usize = 128;

/// Longest path of relays between a node and the server.
pub const RELAY_HOPS: usize = 16;

/// How often the server renews a lease under which something is held: this fraction of the lease.
pub const RENEWALS_PER_LEASE: u32 = 3;

/// How often the server renews a lease under which nothing is held, at the most.
pub const IDLE_RENEWAL: Duration = Duration::from_secs(10);

/// Default lease.
pub const LEASE: Duration = Duration::from_secs(15);

/// Shortest and longest lease that can be configured.
pub const LEASE_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(600);

/// The message of an error fault that names none.
pub const DEFAULT_ERROR: &str = "Yowl! Chaos kitty struck!";

/// Largest script, in bytes.
pub const SCRIPT_BYTES: usize = 256 << 10;

/// Scripts of a server at the most; a node keeps as many of those that it was given.
pub const SCRIPTS: usize = 128;

/// Epochs are milliseconds of a clock, or one more than the last: none is as large as this. Neither end believes one that
/// is, since nothing would be newer.
pub const SANE_EPOCH: u64 = 1 << 62;
