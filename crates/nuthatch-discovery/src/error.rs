//! Why a source gave no list.

/// Why a [`Source`](crate::Source) gave no list, or why its list was not taken.
///
/// None of them ends anything: a follower keeps the last list, says that it is stale, and tries
/// again.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Nobody answered, or not in time.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It does not let us in; somebody has to change a password, a right or a certificate.
    #[error("refuses: {0}")]
    Refused(String),
    /// It answered what is no list of members.
    #[error("gives no list: {0}")]
    Answer(String),
    /// It answered a list without members, which is taken for a fault of the source: no cluster is
    /// better served by having no node than by having the last ones.
    #[error("gives an empty list")]
    Empty,
    /// It answered more members than [`Limits::members_max`](crate::Limits::members_max).
    #[error("gives {members} members, more than {limit}")]
    TooMany {
        /// Those it gave.
        members: usize,
        /// Those that are taken.
        limit: usize,
    },
    /// Its version is lower than the one that is in force, or the same for another list: an old
    /// answer, or a store that was set back.
    #[error("gives version {got} of the list after version {have}")]
    WentBack {
        /// The version in force.
        have: u64,
        /// The one it gave.
        got: u64,
    },
    /// It panicked, which is a bug in it.
    #[error("has a bug, it panicked")]
    Panicked,
    /// What it was set up with cannot work, whatever the other side answers.
    #[error("{0}")]
    Setting(String),
}
