//! Making a connection: the socket, TLS, what the server speaks, the login.
//!
//! ```text
//!   connect ─> TLS ─> version ──> mn ──MN────────────────────> meta commands
//!                     │ │          └─ERROR───────────────────> classic commands
//!                     │ ├─CLIENT_ERROR unauthenticated ─> set auth ─> version …
//!                     │ └─hangs up
//!   connect ─> TLS <──┘
//!       └─> SASL, if there are credentials ─> noop ──────────> binary
//! ```
//!
//! What was found out is remembered for the next time. A connection is good when the server has
//! answered on it: a process that is stopped still accepts connections.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use nuthatch_proto::binary::Status;
use nuthatch_proto::client::{
    BinaryCommand, BinaryConnection, Command, Connection, ErrorKind, Limits, Response,
};
use nuthatch_transport::sasl::Login as SaslLogin;
use nuthatch_transport::tls::ClientTls;
use nuthatch_transport::{ConnectAddr, Stream};
use parking_lot::Mutex;
use tokio::time;

use crate::error::{Error, Kind, Stage};
use crate::login::Login;
use crate::options::Protocol;
use crate::wire::{Dialect, Slot, Wire};

/// Where a node is, and what its certificate must say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    pub(crate) address: ConnectAddr,
    /// Where it may be if it is not there.
    pub(crate) other: Option<ConnectAddr>,
    pub(crate) tls_name: Option<Arc<str>>,
}

impl Target {
    /// There, and called so.
    pub(crate) fn of(address: ConnectAddr) -> Self {
        Self { address, other: None, tls_name: None }
    }
}

/// How connections are made; the same for all nodes.
#[derive(Clone, Debug)]
pub(crate) struct DialOptions {
    pub(crate) connect_timeout: Duration,
    pub(crate) limits: Limits,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Option<ClientTls>,
    pub(crate) login: Option<Login>,
}

/// Makes the connections to one node.
#[derive(Debug)]
pub(crate) struct Dialer {
    target: Mutex<Target>,
    options: DialOptions,
    /// What the server was found to speak.
    dialect: Mutex<Option<Dialect>>,
}

/// What an attempt to speak text came to.
#[expect(clippy::large_enum_variant, reason = "it is moved once a connection")]
enum Greeting {
    Spoken(Stream, Wire, Dialect),
    /// The server hung up on the first word: it may want another protocol.
    HungUp(io::Error),
    /// It has told its version, and hung up on the first meta command: twemproxy, for one, does so
    /// with every command that it does not know.
    HungUpOnMeta(io::Error),
}

impl Dialer {
    pub(crate) fn new(target: Target, options: DialOptions) -> Self {
        Self { target: Mutex::new(target), options, dialect: Mutex::new(None) }
    }

    /// The next connection goes there. Says whether it is another place.
    pub(crate) fn retarget(&self, target: Target) -> bool {
        let mut own = self.target.lock();
        let is_other = *own != target;
        *own = target;
        is_other
    }

    /// Makes a connection. `is_probe` says that the server has to answer something before it is
    /// believed to be there; else a connection that needs no greeting is good as it is.
    pub(crate) async fn dial(&self, is_probe: bool) -> Result<(Stream, Wire), Error> {
        let made = time::timeout(self.options.connect_timeout, self.make(is_probe)).await;
        let made = made.unwrap_or_else(|_| Err(Kind::Timeout(Stage::Connect).into()));
        if made.is_err() {
            // The server may be another one, or another version, the next time. One that is silent
            // may not understand what it is told, and wait for the end of it.
            *self.dialect.lock() = None;
        }
        made
    }

    async fn make(&self, is_probe: bool) -> Result<(Stream, Wire), Error> {
        let known = *self.dialect.lock();
        let set = match self.options.protocol {
            Protocol::Auto => known,
            Protocol::Meta => Some(Dialect::Meta),
            Protocol::Text => Some(Dialect::Classic),
            Protocol::Binary => Some(Dialect::Binary),
        };
        let stream = self.stream().await.map_err(connect)?;
        let (stream, wire, dialect) = match set {
            Some(Dialect::Binary) => {
                let wire = self.speak_binary(stream, is_probe).await?;
                (wire.0, wire.1, Dialect::Binary)
            }
            Some(dialect) if self.options.login.is_none() && !is_probe => {
                (stream, Wire::new(dialect, self.options.limits), dialect)
            }
            _ => match self.speak_text(stream, set).await? {
                Greeting::Spoken(stream, wire, dialect) => (stream, wire, dialect),
                Greeting::HungUp(_) if self.options.protocol == Protocol::Auto => {
                    let stream = self.stream().await.map_err(connect)?;
                    let wire = self.speak_binary(stream, true).await?;
                    (wire.0, wire.1, Dialect::Binary)
                }
                Greeting::HungUpOnMeta(_) if self.options.protocol == Protocol::Auto => {
                    let stream = self.stream().await.map_err(connect)?;
                    match self.speak_text(stream, Some(Dialect::Classic)).await? {
                        Greeting::Spoken(stream, wire, dialect) => (stream, wire, dialect),
                        Greeting::HungUp(error) | Greeting::HungUpOnMeta(error) => {
                            return Err(connect(error));
                        }
                    }
                }
                Greeting::HungUp(error) | Greeting::HungUpOnMeta(error) => {
                    return Err(connect(error));
                }
            },
        };
        *self.dialect.lock() = Some(dialect);
        Ok((stream, wire))
    }

    async fn stream(&self) -> io::Result<Stream> {
        let Target { address, other, tls_name } = self.target.lock().clone();
        let stream = match (Stream::connect(&address).await, &other) {
            // The name is looked up anew each time; the node may have moved before the list says.
            (Err(_), Some(other)) => Stream::connect(other).await?,
            (connected, _) => connected?,
        };
        match (&self.options.tls, &address) {
            (Some(tls), ConnectAddr::Tcp { host, .. }) => {
                Ok(tls.connect(stream, tls_name.as_deref().unwrap_or(host)).await?)
            }
            _ => Ok(stream),
        }
    }

    /// Greets, and logs in if the server asks for it.
    async fn speak_text(
        &self,
        mut stream: Stream,
        set: Option<Dialect>,
    ) -> Result<Greeting, Error> {
        let mut connection = Connection::new(self.options.limits);
        let mut is_logged_in = false;
        let wants_meta = set != Some(Dialect::Classic);
        let is_known = self.dialect.lock().is_some();
        // A server that wants a login by text hangs up on lines shorter than six bytes, as if they
        // were no text.
        let mut begins = !wants_meta || !is_known || self.options.login.is_some();
        let mut has_heard = false;
        loop {
            let greeting = if begins { Command::Version } else { Command::MetaNoop };
            let heard = match ask(&mut stream, &mut connection, &greeting).await {
                Ok(heard) => heard,
                Err(Failure::Io(error)) if !has_heard => return Ok(Greeting::HungUp(error)),
                Err(Failure::Io(error)) if matches!(greeting, Command::MetaNoop) => {
                    return Ok(Greeting::HungUpOnMeta(error));
                }
                Err(failure) => return Err(failure.into()),
            };
            has_heard = true;
            let dialect = match heard {
                Heard::Noop => Dialect::Meta,
                Heard::Version if wants_meta => {
                    begins = false;
                    continue;
                }
                Heard::Version => Dialect::Classic,
                Heard::Error(ErrorKind::Unknown, _) if set != Some(Dialect::Meta) => {
                    Dialect::Classic
                }
                Heard::Error(ErrorKind::Client, text) if !is_logged_in => {
                    self.log_in_by_text(&mut stream, &mut connection, &text).await?;
                    is_logged_in = true;
                    continue;
                }
                Heard::Error(_, text) | Heard::Other(text) => {
                    return Err(connect(io::Error::other(format!("the server says {text}"))));
                }
                Heard::Stored => return Err(connect(io::Error::other("an odd greeting"))),
            };
            // Not one byte that was read is lost: the wire goes on with the same state.
            let mut wire = Wire::new(dialect, self.options.limits);
            if let Wire::Text(text) = &mut wire {
                text.connection = connection;
                text.speaks_meta(dialect == Dialect::Meta);
            }
            return Ok(Greeting::Spoken(stream, wire, dialect));
        }
    }

    /// The server has refused the greeting with this text.
    async fn log_in_by_text(
        &self,
        stream: &mut Stream,
        connection: &mut Connection<Slot>,
        refusal: &str,
    ) -> Result<(), Error> {
        if refusal != UNAUTHENTICATED {
            return Err(connect(io::Error::other(format!("the server says {refusal}"))));
        }
        let Some(login) = &self.options.login else {
            return Err(login_error("the server asks for credentials, and there are none"));
        };
        let credentials = login.credentials().await.map_err(login_error)?;
        let command = Command::Auth { user: credentials.user(), password: credentials.password() };
        match ask(stream, connection, &command).await? {
            Heard::Stored => Ok(()),
            Heard::Error(_, text) | Heard::Other(text) => Err(login_error(text)),
            Heard::Noop | Heard::Version => Err(login_error("an odd answer")),
        }
    }

    /// Logs in if there are credentials; else greets, if it is to be known that somebody answers.
    async fn speak_binary(
        &self,
        mut stream: Stream,
        is_probe: bool,
    ) -> Result<(Stream, Wire), Error> {
        let mut connection = BinaryConnection::new(self.options.limits);
        if let Some(login) = &self.options.login {
            log_in_by_sasl(login, &mut stream, &mut connection).await?;
        } else if is_probe {
            let (status, text) =
                ask_binary(&mut stream, &mut connection, &BinaryCommand::Noop).await?;
            match status {
                Status::OK => {}
                Status::AUTH_ERROR => {
                    return Err(login_error("the server asks for credentials, and there are none"));
                }
                _ => {
                    let text = text.escape_ascii();
                    return Err(connect(io::Error::other(format!("the server says {text}"))));
                }
            }
        }
        let mut wire = Wire::new(Dialect::Binary, self.options.limits);
        if let Wire::Binary(binary) = &mut wire {
            binary.connection = connection;
        }
        Ok((stream, wire))
    }
}

async fn log_in_by_sasl(
    login: &Login,
    stream: &mut Stream,
    connection: &mut BinaryConnection<Slot>,
) -> Result<(), Error> {
    let credentials = login.credentials().await.map_err(login_error)?;
    let (status, offered) = ask_binary(stream, connection, &BinaryCommand::SaslList).await?;
    if status != Status::OK {
        let text = offered.escape_ascii();
        return Err(login_error(format!("the server offers no mechanisms: {text}")));
    }
    let mut sasl =
        SaslLogin::choose(&offered, login.wanted(), credentials.user(), credentials.password())
            .map_err(login_error)?;
    let mechanism = sasl.name().to_owned();
    let mut data = sasl.initial();
    let mut is_first = true;
    loop {
        let command = if std::mem::take(&mut is_first) {
            BinaryCommand::SaslAuth { mechanism: &mechanism, data: &data }
        } else {
            BinaryCommand::SaslStep { mechanism: &mechanism, data: &data }
        };
        let (status, said) = ask_binary(stream, connection, &command).await?;
        match status {
            Status::OK => return sasl.done(&said).map_err(login_error),
            // SCRAM hashes some thousand times; the other tasks of this thread need not wait.
            Status::AUTH_CONTINUE => {
                let step = move || {
                    let answer = sasl.step(&said);
                    (sasl, answer)
                };
                let (own, answer) = tokio::task::spawn_blocking(step).await.map_err(login_error)?;
                sasl = own;
                data = answer.map_err(login_error)?;
            }
            _ => return Err(login_error(said.escape_ascii())),
        }
    }
}

/// What a server of the text protocols said.
enum Heard {
    Noop,
    Version,
    Stored,
    Error(ErrorKind, String),
    Other(String),
}

enum Failure {
    Io(io::Error),
    Protocol(nuthatch_proto::Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        connect(match failure {
            Failure::Io(error) => error,
            Failure::Protocol(error) => io::Error::new(io::ErrorKind::InvalidData, error),
        })
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<nuthatch_proto::Error> for Failure {
    fn from(error: nuthatch_proto::Error) -> Self {
        Self::Protocol(error)
    }
}

async fn ask(
    stream: &mut Stream,
    connection: &mut Connection<Slot>,
    command: &Command<'_>,
) -> Result<Heard, Failure> {
    connection.send(command, Slot::Own)?;
    stream.write_all(connection.transmit()).await?;
    connection.sent(connection.transmit().len());
    loop {
        if let Some(answer) = connection.poll()? {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            return Ok(match answer.response {
                Response::Noop => Heard::Noop,
                Response::Version(_) => Heard::Version,
                Response::Stored(nuthatch_types::Stored::Stored) => Heard::Stored,
                Response::Error(reply) => Heard::Error(reply.kind, text(reply.text)),
                other => Heard::Other(format!("{other:?}")),
            });
        }
        match stream.read(connection.recv_space()).await? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            n => connection.received(n),
        }
    }
}

async fn ask_binary(
    stream: &mut Stream,
    connection: &mut BinaryConnection<Slot>,
    command: &BinaryCommand<'_>,
) -> Result<(Status, Vec<u8>), Failure> {
    connection.send(command, Slot::Own)?;
    stream.write_all(connection.transmit()).await?;
    connection.sent(connection.transmit().len());
    loop {
        if let Some(answer) = connection.poll()? {
            let said = match answer.response {
                Response::Line(line) => line,
                Response::Error(reply) => reply.text,
                _ => b"",
            };
            return Ok((answer.status, said.to_vec()));
        }
        match stream.read(connection.recv_space()).await? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            n => connection.received(n),
        }
    }
}

fn connect(error: io::Error) -> Error {
    Kind::Connect(Arc::new(error)).into()
}

fn login_error(reason: impl ToString) -> Error {
    Kind::Login(reason.to_string()).into()
}

/// What a server that takes logins by text answers before one (`CLIENT_ERROR unauthenticated`).
const UNAUTHENTICATED: &str = "unauthenticated";
