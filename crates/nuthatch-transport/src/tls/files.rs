//! Certificates and keys from files.

use std::{fs, io::Read, path::Path};

use rustls::{
    Error, InconsistentKeys, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    sign::CertifiedKey,
};

use super::{KeyFormat, TlsError, shown};

/// The largest file that is read, in bytes. The roots of a whole machine take a quarter of a MiB.
const FILE_LEN_MAX: u64 = 16 << 20;

/// Reads a chain of certificates and the key of its first one; the key is in the chain's file where
/// no other is named.
pub(super) fn identity(
    chain: &Path,
    key: Option<&Path>,
    format: KeyFormat,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let certificates =
        certificates(chain).map_err(|reason| TlsError::Chain { file: shown(chain), reason })?;
    let file = key.unwrap_or(chain);
    let key_error = |reason| TlsError::Key { file: shown(file), reason };
    let key = private_key(file, format).map_err(key_error)?;
    let key = provider.key_provider.load_private_key(key).map_err(|e| key_error(e.to_string()))?;
    let identity = CertifiedKey::new(certificates, key);
    match identity.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(identity),
        Err(Error::InconsistentKeys(_)) => {
            Err(TlsError::Mismatch { reason: "the key is not the certificate's".to_owned() })
        }
        // The certificate itself cannot be read.
        Err(error) => Err(TlsError::Chain { file: shown(chain), reason: error.to_string() }),
    }
}

/// Reads the certificates of authorities.
pub(super) fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let error = |reason| TlsError::Authorities { file: shown(file), reason };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file).map_err(error)? {
        roots.add(certificate).map_err(|e| error(e.to_string()))?;
    }
    Ok(roots)
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let text = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err("no certificate in it".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(pem_reason(&error)),
    }
}

fn private_key(file: &Path, format: KeyFormat) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = read(file)?;
    match format {
        KeyFormat::Pem => PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
            pem::Error::NoItemsFound => "no private key in it that is not encrypted".to_owned(),
            error => pem_reason(&error),
        }),
        KeyFormat::Der => PrivateKeyDer::try_from(bytes).map_err(ToOwned::to_owned),
    }
}

fn pem_reason(error: &pem::Error) -> String {
    match error {
        pem::Error::NoItemsFound => "nothing in it that is in PEM format".to_owned(),
        error => format!("not in PEM format: {error}"),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let io = |error: std::io::Error| error.to_string();
    let mut bytes = Vec::new();
    let opened = fs::File::open(file).map_err(io)?;
    opened.take(FILE_LEN_MAX + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > FILE_LEN_MAX {
        return Err(format!("more than {} MiB", FILE_LEN_MAX >> 20));
    }
    Ok(bytes)
}
