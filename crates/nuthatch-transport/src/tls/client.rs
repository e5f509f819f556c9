//! The client's side: whom it believes.

use std::{fmt, path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, client::WebPkiServerVerifier, client::danger::ServerCertVerifier,
    pki_types::ServerName, sign::SingleCertAndKey,
};
use tokio_rustls::TlsConnector;

use super::{
    HandshakeError, KeyFormat, MinVersion, Session, TlsError, files, verify, whole_provider,
};
use crate::Stream;

/// The settings of a [`ClientTls`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientTlsBuilder {
    roots: Option<PathBuf>,
    server_name: Option<String>,
    identity: Option<(PathBuf, PathBuf)>,
    min_version: MinVersion,
    any_name: bool,
    any_certificate: bool,
}

impl ClientTlsBuilder {
    /// The file of the certificates, in PEM, of those who may sign the server's; default the
    /// machine's own roots (and what `SSL_CERT_FILE` and `SSL_CERT_DIR` name in their place).
    pub fn roots(mut self, file: impl Into<PathBuf>) -> Self {
        self.roots = Some(file.into());
        self
    }

    /// The name that the server's certificate must bear, among others or by a wildcard; default the
    /// one that is connected to. For servers that are reached by an address, or through a tunnel.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// The files, in PEM, of the certificate that the client shows when it is asked for one, with
    /// what leads from it to an authority, and of its key; default none.
    pub fn identity(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity = Some((chain.into(), key.into()));
        self
    }

    /// The oldest version that is spoken; default TLS 1.2.
    pub fn min_version(mut self, version: MinVersion) -> Self {
        self.min_version = version;
        self
    }

    /// Accepts a certificate for any name, as long as one of the roots has signed it. **Whoever has
    /// such a certificate can be the server**; with the machine's roots that is anybody who has a
    /// web site.
    pub fn danger_accept_any_name(mut self, accept: bool) -> Self {
        self.any_name = accept;
        self
    }

    /// Accepts any certificate. **Whoever is on the way can be the server**: this keeps out those
    /// who only listen.
    pub fn danger_accept_any_certificate(mut self, accept: bool) -> Self {
        self.any_certificate = accept;
        self
    }

    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`TlsError`] says which file and what is wrong with it, that the machine has no roots, or
    /// that the name is none.
    pub fn build(self) -> Result<ClientTls, TlsError> {
        let provider = whole_provider();
        let name = self.server_name.as_deref().map(server_name).transpose()?;
        let roots = if self.any_certificate { None } else { Some(Arc::new(self.root_store()?)) };
        let verifier: Arc<dyn ServerCertVerifier> = match roots {
            Some(roots) if !self.any_name => {
                WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                    .build()
                    .map_err(TlsError::setup)?
            }
            roots => Arc::new(verify::Lenient { roots, provider: Arc::clone(&provider) }),
        };
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(self.min_version.versions())
            .map_err(TlsError::setup)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let config = match &self.identity {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let identity = files::identity(chain, Some(key), KeyFormat::Pem, &provider)?;
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
        };
        Ok(ClientTls { connector: TlsConnector::from(Arc::new(config)), name })
    }

    fn root_store(&self) -> Result<RootCertStore, TlsError> {
        if let Some(file) = &self.roots {
            return files::authorities(file);
        }
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // A machine's collection may have old ones that cannot be read; the others count.
        let (n_read, _) = roots.add_parsable_certificates(found.certs);
        if n_read == 0 {
            let reason = match found.errors.first() {
                Some(error) => error.to_string(),
                None => "there are none".to_owned(),
            };
            return Err(TlsError::Roots { reason });
        }
        Ok(roots)
    }
}

/// A client's side of TLS: whom it believes, and who it is. Clones are the same one, and share the
/// sessions by which a client that comes back is let in more quickly: keep it for as long as
/// connections are made.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
    name: Option<ServerName<'static>>,
}

impl ClientTls {
    /// Begins the settings: the machine's roots, the name that is connected to, no certificate of
    /// its own.
    pub fn builder() -> ClientTlsBuilder {
        ClientTlsBuilder {
            roots: None,
            server_name: None,
            identity: None,
            min_version: MinVersion::default(),
            any_name: false,
            any_certificate: false,
        }
    }

    /// Shakes hands with the server at the other end, which must be `host`, a name or an address,
    /// unless the settings name another.
    ///
    /// Cancel safe in that the connection is closed. There is no time limit; the caller has the
    /// clock.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`] says what is wrong with the server or its certificate, or what the system
    /// said. The connection is closed.
    pub async fn connect(&self, stream: Stream, host: &str) -> Result<Stream, HandshakeError> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => {
                server_name(host).map_err(|error| HandshakeError(std::io::Error::other(error)))?
            }
        };
        let (socket, peer) = stream.into_plain().map_err(HandshakeError)?;
        let session = self.connector.connect(name, socket).await.map_err(HandshakeError)?;
        Ok(Stream::from_tls(Session::new(session), peer))
    }
}

impl fmt::Debug for ClientTls {
    /// Without keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("name", &self.name).finish_non_exhaustive()
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::Name { name: name.to_owned() })
}
