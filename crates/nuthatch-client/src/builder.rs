//! How to connect, and within what limits.

use std::sync::Arc;
use std::time::Duration;

use nuthatch_proto::client::Limits;
use nuthatch_transport::tls::ClientTls;
use nuthatch_transport::{ConnectAddr, Stream};
use nuthatch_types::limits::VALUE_LEN_WIRE_MAX;
use tokio::sync::mpsc;
use tokio::time;

use crate::client::{Client, Settings};
use crate::conn::Task;
use crate::error::{Error, Kind, Stage};

/// The settings of a [`Client`] to be.
///
/// ```no_run
/// use std::time::Duration;
///
/// use nuthatch_client::Client;
///
/// # async fn example() -> Result<(), nuthatch_client::Error> {
/// let cache = Client::builder()
///     .timeout(Duration::from_millis(250))
///     .queue_len(64)
///     .value_bytes_max(8 << 20)
///     .connect("unix:/run/memcached/memcached.sock")
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    connect_timeout: Duration,
    timeout: Duration,
    queue_len: usize,
    value_bytes_max: usize,
    tls: Option<ClientTls>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            connect_timeout: TIMEOUT_DEFAULT,
            timeout: TIMEOUT_DEFAULT,
            queue_len: QUEUE_LEN_DEFAULT,
            value_bytes_max: Limits::default().value_bytes_max,
            tls: None,
        }
    }
}

impl Builder {
    /// How long connecting may take, the look-up of the name included; 1 s without this.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call may take, waiting for a place in the queue included; 1 s without this.
    /// `Duration::MAX` is no limit.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many calls may wait to be sent; as many again may be sent and wait for their answers.
    /// A call beyond that waits for its turn, within its own time limit. 1024 without this; 0
    /// counts as 1.
    #[must_use]
    pub fn queue_len(mut self, len: usize) -> Self {
        self.queue_len = len.clamp(1, QUEUE_LEN_MAX);
        self
    }

    /// The largest value to send or to receive, in bytes; 64 MiB without this. The protocol
    /// carries no more than 2 GiB. See [`Error::is_too_large`] for what becomes of larger ones.
    #[must_use]
    pub fn value_bytes_max(mut self, bytes: usize) -> Self {
        self.value_bytes_max = bytes.min(VALUE_LEN_WIRE_MAX);
        self
    }

    /// Connects with TLS, to TCP addresses; a Unix socket stays plain. Without this nothing is
    /// encrypted.
    ///
    /// ```no_run
    /// use nuthatch_client::{Client, tls::ClientTls};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let tls = ClientTls::builder().roots("/etc/ssl/our-own-ca.pem").build()?;
    /// let cache = Client::builder().tls(tls).connect("cache.example:11211").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Connects to `host[:port]` (port 11211 where none is given; an IPv6 address with a port has
    /// brackets) or to a Unix socket, whose path begins with `/` or `unix:`.
    ///
    /// Spawns a task for the connection: the caller must be in a tokio runtime with I/O and time
    /// enabled, and the connection ends with that runtime.
    ///
    /// Cancel safe: a connection that is not returned is closed.
    ///
    /// # Errors
    ///
    /// [`Error::is_connect`] for an address that is none, for what the resolver, the system or TLS
    /// said, and for the time limit.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, or in one without I/O or time.
    pub async fn connect(&self, address: &str) -> Result<Client, Error> {
        let address: ConnectAddr = address.parse().map_err(Kind::Address)?;
        let connect = async {
            let stream = Stream::connect(&address).await?;
            match (&self.tls, &address) {
                (Some(tls), ConnectAddr::Tcp { host, .. }) => Ok(tls.connect(stream, host).await?),
                _ => Ok(stream),
            }
        };
        let stream = time::timeout(self.connect_timeout, connect)
            .await
            .map_err(|_| Kind::Timeout(Stage::Connect))?
            .map_err(Kind::Connect)?;
        let (calls, queue) = mpsc::channel(self.queue_len);
        let limits = Limits { value_bytes_max: self.value_bytes_max, ..Limits::default() };
        let fate = Arc::default();
        tokio::spawn(Task::new(stream, limits, queue, Arc::clone(&fate)).run());
        let settings =
            Settings { address, timeout: self.timeout, value_bytes_max: self.value_bytes_max };
        Ok(Client::new(calls, fate, settings))
    }
}

/// A cache that takes longer than this is worth no waiting: what it saves is seldom slower.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);

/// At 100 µs a round trip it is ten million calls a second, so that the queue is never what limits
/// the connection; as waiting values of 1 KiB it is 1 MiB.
const QUEUE_LEN_DEFAULT: usize = 1024;

/// What the runtime's channels can hold is far more on 64 bits, but not on 32.
const QUEUE_LEN_MAX: usize = 1 << 24;
