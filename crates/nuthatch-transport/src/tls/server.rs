//! The server's side: what it shows, whom it asks for what, and reading it all again.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    server::{NoServerSessionStorage, ServerSessionMemoryCache},
    sign::SingleCertAndKey,
};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::{
    ClientAuth, KeyFormat, MinVersion, Session, TlsError, ciphers, files, provider, verify,
};
use crate::Stream;

/// How many sessions the cache keeps for each of the three demands on clients; the oldest go first.
/// They take about half a KiB each.
const SESSIONS_MAX: usize = 4096;

/// How many handshakes may be under way at a time. One takes some 20 KiB until it is over.
const HANDSHAKES_MAX: usize = 1024;

/// How much is enciphered before the kernel takes some of it; memcached's figure, and one record.
const WRITE_BYTES_DEFAULT: usize = 16 << 10;

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
    /// case.
    pub fn session_cache(mut self, keep: bool) -> Self {
        self.session_cache = keep;
        self
    }

    /// How many bytes of answers a connection may have enciphered and not yet sent; default 16 KiB,
    /// which is one record, at least 1.
    pub fn write_bytes(mut self, bytes: usize) -> Self {
        self.write_bytes = bytes.max(1);
        self
    }

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`TlsError`] says which file, or which list, and what is wrong with it.
    pub fn load(self) -> Result<ServerTls, TlsError> {
        let configs = self.configs()?;
        Ok(ServerTls(Arc::new(Inner {
            settings: self,
            configs: RwLock::new(configs),
            handshakes: Semaphore::new(HANDSHAKES_MAX),
        })))
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
            // Whoever comes back with a session is not asked for a certificate again: sessions are
            // therefore of one demand and of one set of authorities, and each has keys of its own,
            // which change every few hours.
            config.ticketer = Ticketer::new().map_err(TlsError::setup)?;
            config.session_storage = if self.session_cache {
                ServerSessionMemoryCache::new(SESSIONS_MAX)
            } else {
                Arc::new(NoServerSessionStorage {})
            };
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
    configs: RwLock<Configs>,
    /// As many permits as there may be more handshakes.
    handshakes: Semaphore,
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
        let configs = self.0.settings.configs()?;
        *self.0.configs.write() = configs;
        Ok(())
    }

    /// Whether sessions are kept beyond tickets.
    pub fn has_session_cache(&self) -> bool {
        self.0.settings.session_cache
    }

    /// Shakes hands with a client that has connected. A client that has sent nothing yet costs
    /// nothing but its socket; of those that have, 1024 are served at a time, and the others wait.
    ///
    /// Cancel safe in that the connection is closed. There is no time limit; the caller has the
    /// clock, and needs one: a client may send nothing for ever.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`] says what the client did, or what the system said. The client has been
    /// told as far as TLS has a word for it, and the connection is closed.
    pub async fn accept(&self, stream: Stream, auth: ClientAuth) -> Result<Stream, HandshakeError> {
        let (socket, peer) = stream.into_plain().map_err(HandshakeError)?;
        socket.readable().await.map_err(HandshakeError)?;
        // Never closed, so there always is one in the end.
        let _permit = self.0.handshakes.acquire().await;
        let config = {
            let configs = self.0.configs.read();
            Arc::clone(match auth {
                ClientAuth::None => &configs.none,
                ClientAuth::Request => &configs.request,
                ClientAuth::Require => &configs.require,
            })
        };
        let write_bytes = self.0.settings.write_bytes;
        let accepting = TlsAcceptor::from(config)
            .accept_with(socket, |session| session.set_buffer_limit(Some(write_bytes)));
        let session = accepting.await.map_err(HandshakeError)?;
        Ok(Stream::from_tls(Session::new(session), peer))
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
