//! TLS: for a server that is reached over a network it does not own, and for its clients.
//!
//! ```text
//!   ServerTls ── accept(stream, whom) ──► Stream          files ──reload──► ServerTls
//!   ClientTls ── connect(stream, name) ─► Stream
//! ```
//!
//! A [`Stream`](crate::Stream) that has been through either is read and written like any other.
//! Versions are TLS 1.2 and 1.3. Neither compression nor renegotiation nor early data exists here.
//!
//! The server is set up as memcached is: a chain of certificates and a key, from files, and who
//! among the clients must show a certificate ([`ClientAuth`]). The files can be read again while it
//! serves, when it is told to or when they change ([`CertWatch`]); what is broken is refused as a
//! whole, and what was there before stays.
//!
//! A client verifies the server by the machine's own roots, or by a certificate file; by the name it
//! connects to, or by one given. What switches that off is called `danger_…`.
//!
//! ```
//! use nuthatch_transport::{
//!     BindOptions, ConnectAddr, ListenAddr, Stream, bind,
//!     tls::{ClientAuth, ClientTls, ServerTls},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A certificate for this example alone.
//! let folder = tempfile::tempdir()?;
//! let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
//! let made = rcgen::generate_simple_self_signed(["cache.example".to_owned()])?;
//! std::fs::write(&cert, made.cert.pem())?;
//! std::fs::write(&key, made.signing_key.serialize_pem())?;
//!
//! let server_tls = ServerTls::builder(&cert).key(&key).load()?;
//! let client_tls = ClientTls::builder().roots(&cert).server_name("cache.example").build()?;
//!
//! let addresses = ListenAddr::parse_list("127.0.0.1:0")?;
//! let bound = bind(&addresses, 11211, BindOptions::default())?.remove(0);
//! let address: ConnectAddr = bound.local().to_string().parse()?;
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! runtime.block_on(async {
//!     let listener = bound.into_listener()?;
//!     let serve = async {
//!         let plain = listener.accept().await?.into_stream()?;
//!         let mut stream = server_tls.accept(plain, ClientAuth::None).await?;
//!         let mut buffer = [0; 64];
//!         let n = stream.read(&mut buffer).await?;
//!         stream.write_all(&buffer[..n]).await?;
//!         Ok::<_, std::io::Error>(())
//!     };
//!     let ask = async {
//!         let plain = Stream::connect(&address).await?;
//!         let mut stream = client_tls.connect(plain, "127.0.0.1").await?;
//!         stream.write_all(b"version\r\n").await?;
//!         let mut buffer = [0; 64];
//!         let n = stream.read(&mut buffer).await?;
//!         assert_eq!(&buffer[..n], b"version\r\n");
//!         assert_eq!(stream.tls().map(|tls| tls.version()), Some("TLSv1.3"));
//!         Ok::<_, std::io::Error>(())
//!     };
//!     tokio::try_join!(serve, ask)?;
//!     Ok(())
//! })
//! # }
//! ```
//!
//! The work is [rustls](https://docs.rs/rustls)'s, with aws-lc-rs for the mathematics. None of their
//! types is part of this interface.

mod ciphers;
mod client;
mod crowd;
mod files;
mod server;
mod session;
mod verify;
mod watch;

use std::{path::Path, sync::Arc};

use rustls::{
    SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    version,
};

pub use client::{ClientTls, ClientTlsBuilder};
pub use server::{HandshakeError, ServerTls, ServerTlsBuilder};
pub use session::TlsInfo;
pub use watch::CertWatch;

pub(crate) use session::Session;

/// Which versions of TLS are spoken: the named one and those after it.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl MinVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static ALL: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
        match self {
            Self::Tls12 => &ALL,
            Self::Tls13 => &ALL[..1],
        }
    }
}

/// Whether a client must show who it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum ClientAuth {
    /// It is not asked.
    #[default]
    None,
    /// It is asked and may decline. A certificate that does not hold is refused.
    Request,
    /// It must show a certificate that one of the server's authorities has signed.
    Require,
}

/// How a private key is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum KeyFormat {
    /// As text: PKCS#8, PKCS#1 (RSA) or SEC1 (elliptic curves), not encrypted.
    #[default]
    Pem,
    /// The same without the text around it, ASN.1 in DER.
    Der,
}

/// Why there is no TLS. The texts are memcached's up to the second colon; what comes after it is
/// the reason in our own words.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The chain could not be read or has no certificate.
    #[error("Error loading the certificate chain: {file} : {reason}")]
    Chain {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The key could not be read or is of no known kind.
    #[error("Error loading the key: {file} : {reason}")]
    Key {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key do not belong together.
    #[error("Error validating the certificate: {reason}")]
    Mismatch {
        /// What does not fit.
        reason: String,
    },
    /// The authorities could not be read.
    #[error("Error loading the CA certificate: {file} : {reason}")]
    Authorities {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The list of ciphers leaves none for TLS 1.2.
    #[error("Error setting the provided cipher(s): {list}")]
    Ciphers {
        /// The list.
        list: String,
    },
    /// The machine has no roots to verify servers by.
    #[error("Error loading the machine's root certificates: {reason}")]
    Roots {
        /// What was found instead.
        reason: String,
    },
    /// Not a name that a certificate can have.
    #[error("\"{name}\" cannot be the name of a TLS server")]
    Name {
        /// The name.
        name: String,
    },
    /// The library refused the settings.
    #[error("Error setting TLS up: {reason}")]
    Setup {
        /// What it said.
        reason: String,
    },
}

impl TlsError {
    fn setup(error: impl ToString) -> Self {
        Self::Setup { reason: error.to_string() }
    }
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

/// The provider with nothing taken out.
fn whole_provider() -> Arc<CryptoProvider> {
    Arc::new(provider())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
