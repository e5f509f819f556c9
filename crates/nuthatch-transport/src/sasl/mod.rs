//! SASL logins: who a client is, without a socket and without a protocol around it.
//!
//! ```text
//!                  AUTH mechanism, data          ┌──────────┐
//!   connection ────────────────────────────────► │ Exchange │ one a connection
//!      ▲  │    ◄──────────────────────────────── └──────────┘
//!      │  │       Challenge, Done, Refused            │ what is fast happens here
//!      │  │                                           │
//!      │  └─ Work(job) ──► another thread: job.run() ─┴─► files are read, passwords hashed
//!      │                          │
//!      └───────── finish ◄────────┘
//! ```
//!
//! An [`Authenticator`] knows the [mechanisms](Mechanism) and asks a [store](CredentialStore) of
//! users; an [`Exchange`] is one login. Nothing of that waits: reading a file or hashing a password
//! is a [`Job`] that the caller runs where waiting is allowed.
//!
//! ```
//! use std::time::SystemTime;
//!
//! use nuthatch_transport::{
//!     passwords::Users,
//!     sasl::{Authenticator, Mechanism, Step},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let users = Users::parse(b"sammy:S3cretPw\n").map_err(|line| format!("line {line}"))?;
//! let authenticator = Authenticator::builder(users).mechanisms(&[Mechanism::Plain]).build()?;
//! assert_eq!(authenticator.list(), "PLAIN");
//!
//! let mut exchange = authenticator.exchange();
//! let Step::Work(job) = exchange.start(b"PLAIN", b"\0sammy\0S3cretPw") else { panic!() };
//! # #[expect(clippy::disallowed_methods, reason = "an example")]
//! let worked = job.run(SystemTime::now()); // In a server: on another thread.
//! let Step::Done(identity) = exchange.finish(worked) else { panic!() };
//! assert_eq!(identity.to_string(), "sammy");
//! # Ok(())
//! # }
//! ```
//!
//! # Mechanisms
//!
//! | name | what is sent | what may be stored | rules |
//! |---|---|---|---|
//! | `SCRAM-SHA-256` | proofs, both ways | password, SCRAM-SHA-256 keys | RFC 5802, 7677 |
//! | `SCRAM-SHA-1` | the same | password, SCRAM-SHA-1 keys | RFC 5802 |
//! | `PLAIN` | the password | anything | RFC 4616 |
//! | `CRAM-MD5` | a proof by an old hash | password | RFC 2195; only if asked for |
//!
//! `ANONYMOUS`, which libsasl offers and accepts where no `mech_list` is given, does not exist.
//!
//! - An authorization identity must be empty or the user itself.
//! - Channel binding is not offered: a client that says so (`y`) or does not care (`n`) is welcome,
//!   one that demands it (`p=`) is refused.
//! - SCRAM's last message of the server goes out as a challenge that the client answers with
//!   nothing, as libsasl does it for protocols whose success has no data.
//! - User names are compared byte by byte ([`Name`]); passwords are brought to SASLprep's form
//!   (RFC 4013) before they are hashed, if they have one.
//! - Unknown users are refused after the same messages and the same work as known ones. Their
//!   salts stay the same as long as the authenticator lives.
//!
//! # Limits
//!
//! A client's message: [`MESSAGE_LEN_MAX`]; a name: [`NAME_LEN_MAX`]; a password:
//! [`PASSWORD_LEN_MAX`]; hashing: [`ITERATIONS_MIN`] to [`ITERATIONS_MAX`]. How often a client may
//! try, and how long it may take, is the server's business.
//!
//! The client's side is [`Login`]; what the operator has written is [`Config`].
//!
//! # Why not the `sasl` crate's server
//!
//! Its trait for mechanisms has no way to put work off to another thread, its SCRAM refuses the
//! clients that most users have, and its stores must hold what suffices to log in. Its client side
//! is used.

mod client;
mod config;
mod cram;
mod exchange;
mod hash;
mod keys;
mod names;
mod pwdb;
mod scram;
mod store;

pub use crate::follow::FollowError;
pub use client::{Login, LoginError};
pub use config::{Config, ConfigError, Located};
pub use exchange::{Authenticator, Builder, Exchange, Job, MESSAGE_LEN_MAX, Refusal, Step, Worked};
pub use hash::ScramHash;
pub use keys::{ITERATIONS_DEFAULT, ITERATIONS_MAX, ITERATIONS_MIN, SALT_LEN_MAX, ScramKeys};
pub use names::{Identity, NAME_LEN_MAX, Name, Realms};
pub use pwdb::PasswordDb;
pub use store::{Credential, CredentialStore, Found, PASSWORD_LEN_MAX, Password, Shape};

pub(crate) use store::{Directory, is_password};

/// A way to log in.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Mechanism {
    /// Proofs on both sides that the password, or keys of it, are known; never the password.
    Scram(ScramHash),
    /// The password.
    Plain,
    /// A proof by an old hash; the server proves nothing, and must hold passwords in clear.
    CramMd5,
}

impl Mechanism {
    /// Those that are offered where the operator says nothing, the best first.
    pub const DEFAULT: [Self; 3] =
        [Self::Scram(ScramHash::Sha256), Self::Scram(ScramHash::Sha1), Self::Plain];

    /// The mechanism of this name, in letters of either case. What follows a byte 0 does not
    /// count, as with memcached.
    pub fn parse(name: &[u8]) -> Option<Self> {
        let name = name.split(|byte| *byte == 0).next()?;
        let all = [&Self::DEFAULT[..], &[Self::CramMd5]].concat();
        all.into_iter().find(|one| one.name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scram(hash) => hash.mechanism(),
            Self::Plain => "PLAIN",
            Self::CramMd5 => "CRAM-MD5",
        }
    }
}

/// Why something for logins cannot be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SaslError {
    /// Too few iterations to protect a password, or so many that logins would stop the server.
    #[error("between {ITERATIONS_MIN} and {ITERATIONS_MAX} iterations are allowed")]
    Iterations,
    /// An entry that begins as one with SCRAM keys does is none.
    #[error("malformed SCRAM keys")]
    Entry,
    /// No mechanism is left.
    #[error("no mechanism to offer")]
    NoMechanism,
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mechanisms_have_names_in_either_case() {
        for (name, expected) in [
            ("PLAIN", Some(Mechanism::Plain)),
            ("plain", Some(Mechanism::Plain)),
            ("plain\0ish", Some(Mechanism::Plain)),
            ("Scram-Sha-256", Some(Mechanism::Scram(ScramHash::Sha256))),
            ("SCRAM-SHA-1", Some(Mechanism::Scram(ScramHash::Sha1))),
            ("cram-md5", Some(Mechanism::CramMd5)),
            ("SCRAM-SHA-256-PLUS", None),
            ("ANONYMOUS", None),
            ("", None),
            (" PLAIN", None),
        ] {
            assert_eq!(Mechanism::parse(name.as_bytes()), expected, "{name}");
        }
        assert!(!Mechanism::DEFAULT.contains(&Mechanism::CramMd5));
    }
}
