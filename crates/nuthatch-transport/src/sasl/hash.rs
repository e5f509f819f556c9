//! The two hash functions of SCRAM, chosen at run time.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroize;

/// The hash function of a SCRAM mechanism.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ScramHash {
    /// SHA-1, for clients that know nothing newer.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl ScramHash {
    /// The mechanism's name.
    pub fn mechanism(self) -> &'static str {
        match self {
            Self::Sha1 => "SCRAM-SHA-1",
            Self::Sha256 => "SCRAM-SHA-256",
        }
    }

    /// The bytes of a key or signature.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// `H(bytes)`.
    pub(super) fn digest(self, bytes: &[u8]) -> Digest {
        match self {
            Self::Sha1 => Digest::from_slice(&Sha1::digest(bytes)),
            Self::Sha256 => Digest::from_slice(&Sha256::digest(bytes)),
        }
    }

    /// `HMAC(key, text)`.
    pub(super) fn hmac(self, key: &[u8], text: &[u8]) -> Digest {
        match self {
            Self::Sha1 => hmac::<Hmac<Sha1>>(key, text),
            Self::Sha256 => hmac::<Hmac<Sha256>>(key, text),
        }
    }

    /// `Hi(password, salt, iterations)`: the costly one.
    pub(super) fn salted(self, password: &[u8], salt: &[u8], iterations: u32) -> Digest {
        let mut salted = Digest { bytes: [0; 32], len: self.len() };
        let bytes = &mut salted.bytes[..self.len()];
        match self {
            Self::Sha1 => pbkdf2::pbkdf2::<Hmac<Sha1>>(password, salt, iterations, bytes),
            Self::Sha256 => pbkdf2::pbkdf2::<Hmac<Sha256>>(password, salt, iterations, bytes),
        }
        .expect("an HMAC takes a key of any length");
        salted
    }
}

fn hmac<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Digest {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("an HMAC takes a key of any length");
    mac.update(text);
    Digest::from_slice(&mac.finalize().into_bytes())
}

/// What a hash function gives: a key, a proof or a signature. Compared in constant time, wiped
/// when dropped, and shown to nobody.
#[derive(Clone)]
pub(super) struct Digest {
    bytes: [u8; 32],
    len: usize,
}

impl Digest {
    /// # Panics
    ///
    /// If there are more bytes than the longest hash has.
    pub(super) fn from_slice(from: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes[..from.len()].copy_from_slice(from);
        Self { bytes, len: from.len() }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Both with one another, bit by bit.
    pub(super) fn xor(mut self, other: &Self) -> Self {
        for (byte, with) in self.bytes.iter_mut().zip(&other.bytes) {
            *byte ^= with;
        }
        self
    }
}

impl Drop for Digest {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl ConstantTimeEq for Digest {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.bytes.ct_eq(&other.bytes) & (self.len as u64).ct_eq(&(other.len as u64))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest(of {} bytes)", self.len)
    }
}
