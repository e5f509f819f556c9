//! Why a call failed.

use std::fmt;
use std::io;
use std::sync::Arc;

use nuthatch_discovery::SourceError;
use nuthatch_proto::client::{ErrorKind, ErrorReply};
use nuthatch_transport::{AddrError, tls::TlsError};
use nuthatch_types::KeyError;

/// Why a call failed. What kind of failure it is, is asked: new kinds break nobody. Clones are
/// cheap: a failure may be that of many keys.
///
/// Not errors: a miss, `NOT_STORED`, `EXISTS`, `NOT_FOUND`. They are results.
///
/// | question | kind | what to do |
/// |---|---|---|
/// | [`is_key`](Self::is_key), [`is_too_large`](Self::is_too_large), [`is_unsupported`](Self::is_unsupported) | the call cannot be sent | another key, a smaller value, another server |
/// | [`is_refused`](Self::is_refused) | the server answered with an error line | see [`refusal`](Self::refusal) |
/// | [`is_timeout`](Self::is_timeout) | no answer in time | go without |
/// | [`is_connect`](Self::is_connect), [`is_login`](Self::is_login) | there is no connection | look at the address and the credentials |
/// | [`is_discovery`](Self::is_discovery) | there is no list of nodes | look at who should tell it |
/// | [`is_closed`](Self::is_closed) | the connection has ended on the way | go without; a new one is being made |
/// | [`is_unexpected`](Self::is_unexpected) | an answer that means nothing | look at the server |
///
/// Whether to try again is another question, which [`is_retryable`](Self::is_retryable) and
/// [`is_ambiguous`](Self::is_ambiguous) answer.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: Kind,
    /// Whose failure it is, where it is a node's.
    node: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Address(AddrError),
    /// A URL that says what cannot be done.
    Url(String),
    Tls(TlsError),
    Connect(Arc<io::Error>),
    /// The server does not take the credentials, or there are none.
    Login(String),
    Key(KeyError),
    /// A value to be sent.
    ValueTooLarge {
        len: usize,
        limit: usize,
    },
    /// What the server's protocol has no command for.
    Unsupported(&'static str),
    Timeout(Stage),
    Closed {
        cause: Arc<Cause>,
        is_unsent: bool,
        is_culprit: bool,
    },
    Refused {
        kind: ErrorKind,
        text: String,
    },
    Unexpected {
        line: String,
    },
    /// Nobody tells who the nodes are.
    Discovery(SourceError),
    /// The cluster has no node.
    NoNode,
}

/// Where a call was when its time was up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    Connect,
    /// In front of the queue.
    Queue,
    /// In the queue, or sent.
    Answer,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error("the server closed it")]
    End,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] nuthatch_proto::Error),
    #[error("answer with a key that was not asked for: {key}")]
    WrongKey { key: String },
    #[error("{n} calls in a row were not answered in time")]
    Silent { n: u32 },
    #[error("the node is at another address now")]
    Moved,
    #[error("the runtime was shut down")]
    Runtime,
}

impl Error {
    /// Whether the key cannot be sent: empty, longer than 250 bytes, or with a space or control
    /// byte where the protocol has no way to carry one. Nothing was sent. (`stats_of` answers so
    /// for a control byte in its argument.)
    pub fn is_key(&self) -> bool {
        matches!(self.0.kind, Kind::Key(_))
    }

    /// Whether a value exceeds the client's limit. One to be sent was not sent. One that the
    /// server sent ends the connection ([`is_closed`](Self::is_closed) too), because the rest of
    /// the stream lies behind it.
    pub fn is_too_large(&self) -> bool {
        match &self.0.kind {
            Kind::ValueTooLarge { .. } => true,
            Kind::Closed { cause, is_culprit, .. } => {
                *is_culprit
                    && matches!(
                        **cause,
                        Cause::Protocol(nuthatch_proto::Error::ValueTooLong { .. })
                    )
            }
            _ => false,
        }
    }

    /// Whether the protocol that is spoken with the server has no such command: the meta commands
    /// and what is made of them need memcached 1.6. Nothing was sent.
    pub fn is_unsupported(&self) -> bool {
        matches!(self.0.kind, Kind::Unsupported(_))
    }

    /// Whether the time was up: for connecting, for a place in the queue, or for the answer.
    pub fn is_timeout(&self) -> bool {
        matches!(self.0.kind, Kind::Timeout(_))
    }

    /// Whether there is no connection: an address that is none, a host that cannot be reached, a
    /// login that was refused, or [`is_timeout`](Self::is_timeout) as well.
    pub fn is_connect(&self) -> bool {
        matches!(
            self.0.kind,
            Kind::Address(_)
                | Kind::Url(_)
                | Kind::Tls(_)
                | Kind::Connect(_)
                | Kind::Login(_)
                | Kind::NoNode
                | Kind::Discovery(_)
                | Kind::Timeout(Stage::Connect)
        )
    }

    /// Whether nobody told who the nodes of the cluster are.
    pub fn is_discovery(&self) -> bool {
        matches!(self.0.kind, Kind::Discovery(_))
    }

    /// Whether the server does not take the credentials, or wants some and was given none.
    pub fn is_login(&self) -> bool {
        matches!(self.0.kind, Kind::Login(_))
    }

    /// Whether the connection ended while the call was on its way. The client makes a new one.
    pub fn is_closed(&self) -> bool {
        matches!(self.0.kind, Kind::Closed { .. })
    }

    /// Whether the server answered with an error line, whichever of the three.
    pub fn is_refused(&self) -> bool {
        matches!(self.0.kind, Kind::Refused { .. })
    }

    /// Whether the server answered `SERVER_ERROR`: out of memory, too large for it.
    pub fn is_server_error(&self) -> bool {
        matches!(self.0.kind, Kind::Refused { kind: ErrorKind::Server, .. })
    }

    /// Whether the server answered `CLIENT_ERROR`: the value is no number, for one.
    pub fn is_client_error(&self) -> bool {
        matches!(self.0.kind, Kind::Refused { kind: ErrorKind::Client, .. })
    }

    /// Whether the server answered `ERROR`: it does not know the command.
    pub fn is_unknown_command(&self) -> bool {
        matches!(self.0.kind, Kind::Refused { kind: ErrorKind::Unknown, .. })
    }

    /// What the server said on its error line, after `SERVER_ERROR` and the like.
    pub fn refusal(&self) -> Option<&str> {
        match &self.0.kind {
            Kind::Refused { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Whether the server answered something that is no answer to the command. The call may have
    /// been done.
    pub fn is_unexpected(&self) -> bool {
        matches!(self.0.kind, Kind::Unexpected { .. })
    }

    /// Whether the command surely never reached the server, so that a second attempt cannot do it
    /// twice.
    pub fn is_unsent(&self) -> bool {
        match self.0.kind {
            Kind::Timeout(stage) => stage != Stage::Answer,
            Kind::Closed { is_unsent, .. } => is_unsent,
            Kind::Refused { .. } | Kind::Unexpected { .. } => false,
            _ => true,
        }
    }

    /// Whether nobody knows if the server has done it: it was sent, and there is no answer.
    pub fn is_ambiguous(&self) -> bool {
        match self.0.kind {
            Kind::Timeout(stage) => stage == Stage::Answer,
            Kind::Closed { is_unsent, .. } => !is_unsent,
            Kind::Unexpected { .. } => true,
            _ => false,
        }
    }

    /// Whether the same call may well succeed later, and cannot have been done already: it was not
    /// sent, for a reason that may pass.
    pub fn is_retryable(&self) -> bool {
        self.is_unsent() && self.is_transport()
    }

    /// The node that failed, as `host:port` or the path of its socket, where it was one.
    pub fn node(&self) -> Option<&str> {
        self.0.node.as_deref()
    }

    /// Whether it is the connection's or the node's failure, and not that of the call.
    pub(crate) fn is_transport(&self) -> bool {
        matches!(
            self.0.kind,
            Kind::Connect(_)
                | Kind::Login(_)
                | Kind::NoNode
                | Kind::Timeout(_)
                | Kind::Closed { .. }
                | Kind::Unexpected { .. }
        )
    }

    /// Whether the connection ended before the answer came, and not with it: what one server answers
    /// badly it will answer so again.
    pub(crate) fn is_cut_off(&self) -> bool {
        matches!(self.0.kind, Kind::Closed { is_culprit: false, .. })
    }

    pub(crate) fn closed(cause: &Arc<Cause>, is_unsent: bool) -> Self {
        Kind::Closed { cause: Arc::clone(cause), is_unsent, is_culprit: false }.into()
    }

    /// For the call whose answer ended the connection.
    pub(crate) fn culprit(cause: &Arc<Cause>) -> Self {
        Kind::Closed { cause: Arc::clone(cause), is_unsent: false, is_culprit: true }.into()
    }

    pub(crate) fn refused(reply: &ErrorReply<'_>) -> Self {
        let text = String::from_utf8_lossy(reply.text).into_owned();
        Kind::Refused { kind: reply.kind, text }.into()
    }

    pub(crate) fn unexpected(line: &[u8]) -> Self {
        let shown = &line[..line.len().min(SHOWN_LEN_MAX)];
        Kind::Unexpected { line: shown.escape_ascii().to_string() }.into()
    }

    /// Says whose failure it is.
    #[must_use]
    pub(crate) fn at(mut self, node: &Arc<str>) -> Self {
        self.0.node = Some(Arc::clone(node));
        self
    }

    /// A word for it, for those who count errors: `timeout`, `closed` and the like.
    pub fn name(&self) -> &'static str {
        match self.0.kind {
            Kind::Address(_) | Kind::Url(_) => "address",
            Kind::Tls(_) => "tls",
            Kind::Connect(_) => "connect",
            Kind::Login(_) => "login",
            Kind::Key(_) => "key",
            Kind::ValueTooLarge { .. } => "value_too_large",
            Kind::Unsupported(_) => "unsupported",
            Kind::Timeout(_) => "timeout",
            Kind::Closed { .. } => "closed",
            Kind::Refused { kind: ErrorKind::Unknown, .. } => "unknown_command",
            Kind::Refused { kind: ErrorKind::Client, .. } => "client_error",
            Kind::Refused { kind: ErrorKind::Server, .. } => "server_error",
            Kind::Unexpected { .. } => "unexpected",
            Kind::Discovery(_) => "discovery",
            Kind::NoNode => "no_node",
        }
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self(Box::new(Inner { kind, node: None }))
    }
}

impl From<TlsError> for Error {
    fn from(error: TlsError) -> Self {
        Kind::Tls(error).into()
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Kind::Key(error).into()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.kind.fmt(f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.kind {
            Kind::Address(error) => error.fmt(f),
            Kind::Url(reason) => write!(f, "not a URL of a cache: {reason}"),
            Kind::Tls(error) => error.fmt(f),
            Kind::Login(reason) => write!(f, "no login: {reason}"),
            Kind::Unsupported(what) => {
                write!(f, "the protocol that the server speaks has no {what}")
            }
            Kind::Discovery(error) => write!(f, "no list of nodes: {error}"),
            Kind::NoNode => f.write_str("the cluster has no node"),
            Kind::Connect(error) => write!(f, "no connection: {error}"),
            Kind::Key(error) => error.fmt(f),
            Kind::ValueTooLarge { len, limit } => {
                write!(f, "value of {len} bytes exceeds the client's limit of {limit}")
            }
            Kind::Timeout(Stage::Connect) => f.write_str("no connection in time"),
            Kind::Timeout(Stage::Queue) => f.write_str("no place in the queue in time"),
            Kind::Timeout(Stage::Answer) => f.write_str("no answer in time"),
            Kind::Closed { cause, .. } => write!(f, "connection closed: {cause}"),
            Kind::Refused { kind, text } => {
                f.write_str(match kind {
                    ErrorKind::Unknown => "the server does not know the command",
                    ErrorKind::Client => "the server calls it a client error",
                    ErrorKind::Server => "server error",
                })?;
                if text.is_empty() { Ok(()) } else { write!(f, ": {text}") }
            }
            Kind::Unexpected { line } => write!(f, "unexpected answer: {line}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // What `Display` has said already is left out: only what is below it counts as a source.
        match &self.0.kind {
            Kind::Connect(error) => error.source(),
            Kind::Closed { cause, .. } => cause.source(),
            _ => None,
        }
    }
}

/// How much of an answer that means nothing is shown, in bytes: it may be a value.
const SHOWN_LEN_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_small_and_can_go_anywhere() {
        fn check<T: std::error::Error + Send + Sync + 'static>() {}
        check::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn errors_say_what_they_are() {
        let cause =
            Arc::new(Cause::Protocol(nuthatch_proto::Error::ValueTooLong { len: 9, limit: 5 }));
        let (culprit, other) = (Error::culprit(&cause), Error::closed(&cause, true));
        assert!(culprit.is_too_large() && culprit.is_closed() && !culprit.is_unsent());
        assert!(!other.is_too_large() && other.is_closed() && other.is_unsent());
        assert_eq!(other.to_string(), "connection closed: value of 9 bytes exceeds the limit of 5");
        for (stage, is_unsent) in
            [(Stage::Connect, true), (Stage::Queue, true), (Stage::Answer, false)]
        {
            let error = Error::from(Kind::Timeout(stage));
            assert!(error.is_timeout() && error.is_ambiguous() != is_unsent);
            assert_eq!(
                (error.is_unsent(), error.is_connect()),
                (is_unsent, stage == Stage::Connect)
            );
        }
    }
}
