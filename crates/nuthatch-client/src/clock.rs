//! The one place that reads the time of day: the wire has no relative form for life spans beyond
//! 30 days.

use std::time::{SystemTime, UNIX_EPOCH};

use nuthatch_types::Ttl;

/// A life span as the wire has it.
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub(crate) fn exptime(ttl: Ttl) -> i32 {
    // A clock before 1970 is off by so much that 0 is as good as anything.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    ttl.to_exptime(now.as_secs())
}
