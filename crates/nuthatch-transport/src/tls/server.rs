//! The server's side: what it shows, whom it asks for what, and reading it all again.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    server::{NoServerSessionStorage, ServerSessionMemoryCache},
    sign::SingleCertAndKey,
};
use tokio_rustls::TlsAcceptor;

use super::{
    ClientAuth, KeyFormat, MinVersion, Session, TlsError, ciphers,
    crowd::{Crowd, PLACES_DEFAULT, TIME_DEFAULT},
    files, provider, verify,
    watch::Stamps,
};
use crate::{Stream, follow::Stamp};

/// How many sessions the cache keeps; the oldest go first. They take about half a KiB each.
const SESSIONS_MAX: usize = 4096;

/// How much of the answers is enciphered in one go; memcached's figure, and one record.
const WRITE_BYTES_DEFAULT: usize = 16 << 10;

/// How many times as much may wait for the kernel. With two, a value of 16 KiB and the lines around
/// it are sent by one system call and not by two, which is a seventh of its cost.
const WRITES_WAITING: usize = 2;

/// How many tickets a client of TLS 1.3 gets. One for each connection is what it needs to open as
/// many again; each costs the server some 4 µs and the client 200 bytes.
const TICKETS: usize = 1;

/// The settings of a [`ServerTls`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ServerTlsBuilder {
    chain: PathBuf,
    key: Option<PathBuf>,
    key_format: KeyFormat,
    authorities: Option<PathBuf>,
    min_version: MinVersion,
    ciphers: Option<String>,
    session_cache: bool,
    write_bytes: usize,
    handshakes: usize,
}

impl ServerTlsBuilder {
    /// The file of the private key; default the chain's, where it must be in PEM.
    pub fn key(mut self, file: impl Into<PathBuf>) -> Self {
        self.key = Some(file.into());
        self
    }

    /// How the key is written; default PEM.
    pub fn key_format(mut self, format: KeyFormat) -> Self {
        self.key_format = format;
        self
    }

    /// The file of the certificates, in PEM, of those who may sign clients' certificates. Without
    /// it no client's certificate holds. Clients are told these names, so that they know which of
    /// their certificates to show.
    pub fn authorities(mut self, file: impl Into<PathBuf>) -> Self {
        self.authorities = Some(file.into());
        self
    }

    /// The oldest version that is spoken; default TLS 1.2.
    pub fn min_version(mut self, version: MinVersion) -> Self {
        self.min_version = version;
        self
    }

    /// What TLS 1.2 may use, as OpenSSL writes it (`ECDHE-RSA-AES128-GCM-SHA256:…`, `HIGH:!aNULL`);
    /// default all six suites that agree on a new key for every session and authenticate what they
    /// encipher. TLS 1.3 has its own suites, which no such list touches.
    pub fn ciphers(mut self, list: impl Into<String>) -> Self {
        self.ciphers = Some(list.into());
        self
    }

    /// Whether the server keeps sessions itself, 4096 of them, for clients of TLS 1.2 that take no
    /// tickets; default no. Those that do, and all of TLS 1.3, come back with a ticket in any
    /// case. Where a client is [asked for a certificate](ClientAuth), it is so each time, and there
    /// are neither sessions nor tickets.
    pub fn session_cache(mut self, keep: bool) -> Self {
        self.session_cache = keep;
        self
    }

    /// How many bytes of answers are enciphered at a time; default 16 KiB, which is one record, at
    /// least 1. Up to twice as many may wait to be sent.
    pub fn write_bytes(mut self, bytes: usize) -> Self {
        self.write_bytes = bytes.max(1);
        self
    }

    /// How many handshakes may be under way at a time, at least 1; default 1024. Who comes then waits
    /// for a place. Where more than half of them are taken, clients that have sent nothing yet
    /// included, each has no more than 2 s.
    pub fn handshakes_max(mut self, handshakes: usize) -> Self {
        self.handshakes = handshakes;
        self
    }

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`TlsError`] says which file, or which list, and what is wrong with it.
    pub fn load(self) -> Result<ServerTls, TlsError> {
        // Before they are read: what changes meanwhile looks changed.
        let stamps = self.stamps();
        let configs = self.configs()?;
        Ok(ServerTls(Arc::new(Inner {
            crowd: Crowd::new(self.handshakes),
            settings: self,
            configs: RwLock::new((configs, stamps)),
        })))
    }

    /// What the files are like: the chain, the key, the authorities.
    fn stamps(&self) -> Stamps {
        [Some(&self.chain), self.key.as_ref(), self.authorities.as_ref()]
            .map(|file| Some(Stamp::of(&fs::metadata(file?).ok()?)))
    }

    fn configs(&self) -> Result<Configs, TlsError> {
        let mut provider = provider();
        if let Some(list) = &self.ciphers
            && !ciphers::retain(&mut provider.cipher_suites, list)
        {
            return Err(TlsError::Ciphers { list: list.clone() });
        }
        let provider = Arc::new(provider);
        let key = self.key.as_deref();
        let identity = files::identity(&self.chain, key, self.key_format, &provider)?;
        let identity = Arc::new(SingleCertAndKey::from(identity));
        let authorities =
            self.authorities.as_deref().map(files::authorities).transpose()?.map(Arc::new);
        let config = |auth| {
            let verifier = verify::of_clients(auth, authorities.as_ref(), &provider)?;
            let resolver = Arc::clone(&identity);
            let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(self.min_version.versions())
                .map_err(TlsError::setup)?
                .with_client_cert_verifier(verifier)
                .with_cert_resolver(resolver);
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
            // Whoever comes back with a session is not asked for a certificate again. Where one is
            // asked for there are none therefore: it would be good for half a day longer than it is
            // valid. What that costs is the check of a signature; the keys are agreed on anew in
            // any case.
            if auth == ClientAuth::None {
                // The keys change every few hours.
                config.send_tls13_tickets = TICKETS;
                config.ticketer = Ticketer::new().map_err(TlsError::setup)?;
                if self.session_cache {
                    config.session_storage = ServerSessionMemoryCache::new(SESSIONS_MAX);
                }
            }
            Ok(Arc::new(config))
        };
        Ok(Configs {
            none: config(ClientAuth::None)?,
            request: config(ClientAuth::Request)?,
            require: config(ClientAuth::Require)?,
        })
    }
}

/// A server's certificates and rules. Clones are the same one; any thread may ask and reload.
#[derive(Clone)]
pub struct ServerTls(Arc<Inner>);

struct Inner {
    settings: ServerTlsBuilder,
    /// What the files said, and what they were like.
    configs: RwLock<(Configs, Stamps)>,
    crowd: Crowd,
}

/// What the files said, for each demand on clients.
struct Configs {
    none: Arc<ServerConfig>,
    request: Arc<ServerConfig>,
    require: Arc<ServerConfig>,
}

impl ServerTls {
    /// Begins the settings; the file is that of the server's chain of certificates in PEM, its own
    /// first.
    pub fn builder(chain: impl Into<PathBuf>) -> ServerTlsBuilder {
        ServerTlsBuilder {
            chain: chain.into(),
            key: None,
            key_format: KeyFormat::Pem,
            authorities: None,
            min_version: MinVersion::default(),
            ciphers: None,
            session_cache: false,
            write_bytes: WRITE_BYTES_DEFAULT,
            handshakes: PLACES_DEFAULT,
        }
    }

    /// Reads the files again, all of them or none: on an error everything is as before. New
    /// connections get what is new; those that are open live on. Sessions are forgotten, because
    /// what they were granted for may not hold any more.
    ///
    /// This waits for the disk.
    ///
    /// # Errors
    ///
    /// [`TlsError`] says which file, and what is wrong with it.
    pub fn reload(&self) -> Result<(), TlsError> {
        let stamps = self.0.settings.stamps();
        let configs = self.0.settings.configs()?;
        *self.0.configs.write() = (configs, stamps);
        Ok(())
    }

    /// Whether sessions are kept beyond tickets.
    pub fn has_session_cache(&self) -> bool {
        self.0.settings.session_cache
    }

    /// Shakes hands with a client that has connected, in a runtime with time enabled. It may keep
    /// the server waiting for ten seconds in all, less where many do; see
    /// [`accept_within`](Self::accept_within).
    ///
    /// Cancel safe in that the connection is closed.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`] says what the client did, that it took too long, or what the system said.
    /// The client has been told as far as TLS has a word for it, and the connection is closed.
    pub async fn accept(&self, stream: Stream, auth: ClientAuth) -> Result<Stream, HandshakeError> {
        self.accept_within(stream, auth, TIME_DEFAULT).await
    }

    /// The same with a time of one's own, from which what the client waits for the server is not
    /// taken. A client that has sent nothing yet costs nothing but its socket; of those that have,
    /// as many are served at a time as there are [places](ServerTlsBuilder::handshakes_max), a quarter
    /// of them for one address at most, and the others wait. Where more than half of these are
    /// taken, the time is at most 2 s.
    ///
    /// Cancel safe in that the connection is closed.
    ///
    /// # Errors
    ///
    /// As [`accept`](Self::accept).
    pub async fn accept_within(
        &self,
        stream: Stream,
        auth: ClientAuth,
        time: Duration,
    ) -> Result<Stream, HandshakeError> {
        let (socket, peer) = stream.into_plain().map_err(HandshakeError)?;
        let mut newcomer = self.0.crowd.enter(peer.origin(), time);
        newcomer.turn(socket.readable()).await.map_err(HandshakeError)?;
        let _place = newcomer.place().await;
        let config = {
            let (configs, _) = &*self.0.configs.read();
            Arc::clone(match auth {
                ClientAuth::None => &configs.none,
                ClientAuth::Request => &configs.request,
                ClientAuth::Require => &configs.require,
            })
        };
        let limit = self.0.settings.write_bytes.saturating_mul(WRITES_WAITING);
        let accepting = TlsAcceptor::from(config)
            .accept_with(socket, |session| session.set_buffer_limit(Some(limit)));
        let session = newcomer.turn(accepting).await.map_err(HandshakeError)?;
        Ok(Stream::from_tls(Session::new(session), peer))
    }

    /// How many handshakes are under way, those of clients that have sent nothing yet included.
    pub fn n_handshakes(&self) -> usize {
        self.0.crowd.len()
    }

    /// What the files are like.
    pub(super) fn stamps(&self) -> Stamps {
        self.0.settings.stamps()
    }

    /// What they were like when they were read.
    pub(super) fn loaded_stamps(&self) -> Stamps {
        self.0.configs.read().1
    }

    /// The file of the chain.
    pub fn chain(&self) -> &Path {
        &self.0.settings.chain
    }
}

impl fmt::Debug for ServerTls {
    /// Without keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct HandshakeError(pub(super) io::Error);

impl From<HandshakeError> for io::Error {
    fn from(HandshakeError(error): HandshakeError) -> Self {
        error
    }
}
