//! Watching the files of a server's certificates, for those who renew them and tell nobody.
//!
//! The files are looked at, not listened to: that also works where they lie on a network, are
//! mounted into a container, or are reached by a symbolic link that is moved (as Kubernetes swaps
//! the folder of a secret).

use super::{ServerTls, TlsError};
use crate::follow::Stamp;

/// What the files were like: the chain, the key, the authorities; `None` for what is not there or
/// not named.
pub(super) type Stamps = [Option<Stamp>; 3];

/// Reads a server's files again when they have changed. Made by [`ServerTls::watch`]; the caller has
/// the clock, and calls [`look`](Self::look) every second or so.
#[derive(Debug)]
pub struct CertWatch {
    tls: ServerTls,
    /// As they were at the last look.
    before: Stamps,
    /// As they were when they were refused.
    refused: Option<Stamps>,
}

impl CertWatch {
    pub(super) fn new(tls: ServerTls) -> Self {
        let before = tls.stamps();
        Self { tls, before, refused: None }
    }

    /// Looks at the files, and reads them all if one has changed since they were last read and none
    /// since the last look: a certificate and its key are rarely written at the same moment.
    ///
    /// `None` if there was nothing to read, else what came of it. What is refused is told once, and
    /// looked at again when it changes; until then everything is as before.
    ///
    /// This waits for the disk.
    pub fn look(&mut self) -> Option<Result<(), TlsError>> {
        let now = self.tls.stamps();
        let is_quiet = std::mem::replace(&mut self.before, now) == now;
        if !is_quiet || now == self.tls.loaded_stamps() || self.refused == Some(now) {
            return None;
        }
        let read = self.tls.reload();
        self.refused = read.is_err().then_some(now);
        Some(read)
    }
}

impl ServerTls {
    /// Begins to watch the files; see [`CertWatch`].
    pub fn watch(&self) -> CertWatch {
        CertWatch::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use super::*;

    fn write(folder: &Path) {
        let made = rcgen::generate_simple_self_signed(["cache.example".to_owned()]).unwrap();
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
        fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    }

    fn load(folder: &Path) -> ServerTls {
        ServerTls::builder(folder.join("tls.crt")).key(folder.join("tls.key")).load().unwrap()
    }

    #[test]
    fn changes_are_read_when_they_are_over() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let tls = load(folder.path());
        let mut watch = tls.watch();
        assert!(watch.look().is_none());
        write(folder.path());
        assert!(watch.look().is_none(), "somebody may still be writing");
        assert_eq!(watch.look(), Some(Ok(())));
        assert!(watch.look().is_none());

        // Somebody else may have been told to read them.
        write(folder.path());
        tls.reload().unwrap();
        assert!(watch.look().is_none() && watch.look().is_none());

        // By another file in its place.
        let made = tempfile::tempdir_in(folder.path()).unwrap();
        write(made.path());
        for name in ["tls.crt", "tls.key"] {
            fs::rename(made.path().join(name), folder.path().join(name)).unwrap();
        }
        assert!(watch.look().is_none());
        assert_eq!(watch.look(), Some(Ok(())));
    }

    #[test]
    fn what_is_broken_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        let tls = load(folder.path());
        let mut watch = tls.watch();
        let key = fs::read(folder.path().join("tls.key")).unwrap();
        fs::write(folder.path().join("tls.key"), "nothing").unwrap();
        assert!(watch.look().is_none());
        assert!(matches!(watch.look(), Some(Err(TlsError::Key { .. }))));
        assert!(watch.look().is_none() && watch.look().is_none());
        fs::remove_file(folder.path().join("tls.key")).unwrap();
        assert!(watch.look().is_none());
        assert!(matches!(watch.look(), Some(Err(TlsError::Key { .. }))));
        fs::write(folder.path().join("tls.key"), key).unwrap();
        assert!(watch.look().is_none());
        assert_eq!(watch.look(), Some(Ok(())));
        assert!(watch.look().is_none());
    }

    #[test]
    fn a_link_may_be_moved() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second, data, next] =
            ["..1", "..2", "..data", "..next"].map(|name| folder.path().join(name));
        write(&first);
        write(&second);
        symlink("..1", &data).unwrap();
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), folder.path().join(name)).unwrap();
        }
        let mut watch = load(folder.path()).watch();
        symlink("..2", &next).unwrap();
        fs::rename(&next, &data).unwrap();
        assert!(watch.look().is_none());
        assert_eq!(watch.look(), Some(Ok(())));
        assert!(watch.look().is_none());
    }
}
