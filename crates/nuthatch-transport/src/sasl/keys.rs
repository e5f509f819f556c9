//! Passwords kept as SCRAM keys: who reads them cannot log in with them.
//!
//! An entry is one line's worth of text, in the notation of RFC 5803 and of PostgreSQL:
//!
//! ```text
//!  SCRAM-SHA-256$16384:c2FsdHNhbHRzYWx0c2FsdA==$StoredKey:ServerKey
//!  mechanism     │     │                         │         └ base64 of HMAC(SaltedPassword, "Server Key")
//!                │     │                         └ base64 of H(HMAC(SaltedPassword, "Client Key"))
//!                │     └ base64 of the salt      SaltedPassword = PBKDF2(password, salt, iterations)
//!                └ iterations
//! ```
//!
//! A SCRAM login needs two quick hashes to be checked against such keys; one that sends its
//! password (PLAIN, memcached's text login) needs all the iterations. SCRAM-SHA-256 keys serve
//! SCRAM-SHA-256 and PLAIN, SCRAM-SHA-1 keys SCRAM-SHA-1 and PLAIN.

use std::{borrow::Cow, fmt};

use base64ct::{Base64, Encoding};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::{
    SaslError,
    hash::{Digest, ScramHash},
    store::Shape,
};

/// The fewest iterations of a password's hash (RFC 5802 and 7677 demand as many).
pub const ITERATIONS_MIN: u32 = 4096;

/// The iterations of keys that are made where nothing else is said: about 3 ms of one core, paid
/// by the server for a login that sends its password, and by the client for one that does not.
pub const ITERATIONS_DEFAULT: u32 = 16_384;

/// The most iterations: about a sixth of a second. A server that asks a client for more, or an
/// entry that asks a server, is refused.
pub const ITERATIONS_MAX: u32 = 1_000_000;

/// The longest salt, in bytes.
pub const SALT_LEN_MAX: usize = 64;

/// The bytes of a salt that is made here.
pub(super) const SALT_LEN: usize = 16;

/// What a server needs to know to check a password, without knowing the password.
#[derive(Clone, Debug)]
pub struct ScramKeys {
    pub(super) hash: ScramHash,
    pub(super) iterations: u32,
    pub(super) salt: Box<[u8]>,
    pub(super) stored: Digest,
    pub(super) server: Digest,
}

impl ScramKeys {
    /// Makes keys of a password, with a new random salt of 16 bytes. Takes its time: see
    /// [`ITERATIONS_DEFAULT`].
    ///
    /// ```
    /// use nuthatch_transport::sasl::{ITERATIONS_DEFAULT, ScramHash, ScramKeys};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let keys = ScramKeys::make(ScramHash::Sha256, b"tea", ITERATIONS_DEFAULT)?;
    /// let entry = format!("sammy:{keys}"); // A line of the file that -Y names.
    /// assert!(entry.starts_with("sammy:SCRAM-SHA-256$16384:"));
    /// assert!(keys.is_password(b"tea") && !keys.is_password(b"coffee"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SaslError::Iterations`] if there are fewer than [`ITERATIONS_MIN`] or more than
    /// [`ITERATIONS_MAX`]; [`SaslError::NoRandom`] if the system has no random bytes.
    pub fn make(hash: ScramHash, password: &[u8], iterations: u32) -> Result<Self, SaslError> {
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(SaslError::Iterations);
        }
        let mut salt = [0; SALT_LEN];
        getrandom::fill(&mut salt).map_err(|_| SaslError::NoRandom)?;
        Ok(Self::derive(hash, &prepared(password), &salt, iterations))
    }

    /// Reads an entry; `None` if the text is none, so that it may be a password that somebody
    /// wrote in clear.
    ///
    /// # Errors
    ///
    /// What begins as an entry does, with a mechanism's name and a dollar sign, but does not go on
    /// so: nobody can log in with it, and to take it for a password would be worse.
    pub fn parse(text: &[u8]) -> Result<Option<Self>, SaslError> {
        let Some((hash, rest)) =
            [ScramHash::Sha256, ScramHash::Sha1].into_iter().find_map(|hash| {
                let rest = text.strip_prefix(hash.mechanism().as_bytes())?;
                Some((hash, rest.strip_prefix(b"$")?))
            })
        else {
            return Ok(None);
        };
        let keys = std::str::from_utf8(rest).ok().and_then(|rest| Self::parse_rest(hash, rest));
        keys.map(Some).ok_or(SaslError::Entry)
    }

    fn parse_rest(hash: ScramHash, rest: &str) -> Option<Self> {
        let (about, keys) = rest.split_once('$')?;
        let (iterations, salt) = about.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let iterations = number(iterations)?;
        let salt = Base64::decode_vec(salt).ok()?;
        let key = |text| {
            let bytes = Zeroizing::new(Base64::decode_vec(text).ok()?);
            (bytes.len() == hash.len()).then(|| Digest::from_slice(&bytes))
        };
        let (stored, server) = (key(stored)?, key(server)?);
        let is_sound = (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations)
            && (1..=SALT_LEN_MAX).contains(&salt.len());
        is_sound.then(|| Self { hash, iterations, salt: salt.into(), stored, server })
    }

    /// Keys of a password that is ready to be hashed.
    pub(super) fn derive(hash: ScramHash, ready: &[u8], salt: &[u8], iterations: u32) -> Self {
        let salted = hash.salted(ready, salt, iterations);
        let client = hash.hmac(salted.as_slice(), b"Client Key");
        Self {
            hash,
            iterations,
            salt: salt.into(),
            stored: hash.digest(client.as_slice()),
            server: hash.hmac(salted.as_slice(), b"Server Key"),
        }
    }

    /// What such an entry looks like to somebody who tries to log in.
    pub fn shape(&self) -> Shape {
        let Self { hash, iterations, ref salt, .. } = *self;
        Shape::Hashed { hash, iterations, salt_bytes: salt.len() }
    }

    /// The hash function.
    pub fn hash(&self) -> ScramHash {
        self.hash
    }

    /// How often the password was hashed.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Whether this is the password. Hashes it [`iterations`](Self::iterations) times: not for a
    /// thread that must not wait.
    pub fn is_password(&self, password: &[u8]) -> bool {
        self.matches(password).into()
    }

    /// Keys that no password has, for users who do not exist.
    pub(super) fn decoy(hash: ScramHash, iterations: u32, salt_bytes: usize) -> Self {
        let nothing = Digest::from_slice(&[0; 32][..hash.len()]);
        let salt = vec![0; salt_bytes].into();
        Self { hash, iterations, salt, stored: nothing.clone(), server: nothing }
    }

    // The same machine code for users who exist and for those who do not: two copies of it, which
    // the compiler may make for two callers, need not be equally fast.
    #[inline(never)]
    pub(super) fn matches(&self, password: &[u8]) -> Choice {
        let made = Self::derive(self.hash, &prepared(password), &self.salt, self.iterations);
        made.stored.ct_eq(&self.stored)
    }
}

impl fmt::Display for ScramKeys {
    /// The entry, as [`ScramKeys::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base64 = |bytes: &[u8]| Base64::encode_string(bytes);
        write!(
            f,
            "{}${}:{}${}:{}",
            self.hash.mechanism(),
            self.iterations,
            base64(&self.salt),
            base64(self.stored.as_slice()),
            base64(self.server.as_slice())
        )
    }
}

/// A password as it is hashed: SASLprep (RFC 4013) of it, or itself if that does not exist, as
/// with PostgreSQL: it is no UTF-8, or has characters that SASLprep forbids.
pub(super) fn prepared(password: &[u8]) -> Zeroizing<Vec<u8>> {
    let prepared =
        std::str::from_utf8(password).ok().and_then(|text| stringprep::saslprep(text).ok());
    Zeroizing::new(match prepared {
        Some(Cow::Owned(text)) => text.into_bytes(),
        Some(Cow::Borrowed(text)) => text.as_bytes().to_vec(),
        None => password.to_vec(),
    })
}

/// A number in decimal without sign or leading zero.
pub(super) fn number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    is_plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PostgreSQL's form of the password `pencil` with the salt and iterations of RFC 7677.
    const PENCIL: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                          WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                          wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn an_entry_is_read_and_written() {
        let keys = ScramKeys::parse(PENCIL.as_bytes()).unwrap().unwrap();
        assert_eq!(keys.to_string(), PENCIL);
        assert_eq!((keys.hash(), keys.iterations()), (ScramHash::Sha256, 4096));
        assert!(keys.is_password(b"pencil"));
        assert!(!keys.is_password(b"pencils") && !keys.is_password(b""));
        let made = ScramKeys::derive(ScramHash::Sha256, b"pencil", &keys.salt, 4096);
        assert_eq!(made.to_string(), PENCIL);
        assert!(!format!("{keys:?}").contains("89, 110"), "keys are shown to nobody");
    }

    #[test]
    fn entries_that_are_made_can_be_used() {
        for hash in [ScramHash::Sha1, ScramHash::Sha256] {
            let keys = ScramKeys::make(hash, b"tea", ITERATIONS_MIN).unwrap();
            let again = ScramKeys::parse(keys.to_string().as_bytes()).unwrap().unwrap();
            assert!(again.is_password(b"tea") && !again.is_password(b"Tea"));
            let other = ScramKeys::make(hash, b"tea", ITERATIONS_MIN).unwrap();
            assert_ne!(other.to_string(), keys.to_string(), "the salt is another one");
        }
        for iterations in [0, 4095, ITERATIONS_MAX + 1] {
            let made = ScramKeys::make(ScramHash::Sha256, b"tea", iterations);
            assert!(matches!(made, Err(SaslError::Iterations)));
        }
    }

    #[test]
    fn what_is_no_entry_is_a_password_or_an_error() {
        for password in ["", "SCRAM-SHA-256", "SCRAM-SHA-512$4096:", "scram-sha-256$4096:", "x$"] {
            assert!(ScramKeys::parse(password.as_bytes()).unwrap().is_none(), "{password}");
        }
        let long_salt = format!("4096:{}$", Base64::encode_string(&[0; 66]));
        for (from, to) in [
            ("4096:", "4095:"),
            ("4096:", "1000001:"),
            ("4096:", "04096:"),
            ("4096:", "+4096:"),
            ("4096:", ":"),
            ("4096:W22ZaJ0SNY7soEsUEjb6gQ==", "4096:"),
            ("4096:W22ZaJ0SNY7soEsUEjb6gQ==$", long_salt.as_str()),
            ("gQ==", "gQ"),
            ("4qY=", "4q"),
            ("WG5d", "WG5"),
            ("SCRAM-SHA-256", "SCRAM-SHA-1"),
            ("2dU=", "2dU= "),
            (":wf", "wf"),
        ] {
            let bad = PENCIL.replace(from, to);
            assert_ne!(bad, PENCIL, "{from}");
            assert!(matches!(ScramKeys::parse(bad.as_bytes()), Err(SaslError::Entry)), "{bad}");
        }
    }

    #[test]
    fn passwords_are_prepared_or_taken_as_they_are() {
        for (password, expected) in [
            (&b"tea"[..], &b"tea"[..]),
            ("I\u{ad}X".as_bytes(), b"IX"),
            ("\u{2168}".as_bytes(), b"IX"),
            (b"\xff\xfe", b"\xff\xfe"),
            (b"bell\x07", b"bell\x07"),
        ] {
            assert_eq!(*prepared(password), expected);
        }
    }
}
