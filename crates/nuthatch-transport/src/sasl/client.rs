//! A login as the client does it.
//!
//! The client's mechanisms are those of the `sasl` crate's frame: its PLAIN, and SCRAM and CRAM-MD5
//! of our own. [`Login`] chooses one of them among what the server offers, and makes sure that a
//! server that has to prove itself does.

use std::fmt;

use base64ct::{Base64, Encoding};
use sasl::client::{Mechanism as Client, MechanismError, mechanisms::Plain};
use sasl::common::{Credentials, Identity as SaslIdentity, Password as SaslPassword, Secret};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    MESSAGE_LEN_MAX, Mechanism, cram,
    hash::{Digest, ScramHash},
    keys::{ITERATIONS_MAX, ITERATIONS_MIN, SALT_LEN_MAX, number, prepared},
    scram::{attribute, base64, is_nonce},
};

/// One login of a client.
///
/// ```text
///   choose ─► name, initial ─► the server: a challenge ─► step ─► answer ─┐
///                                  ▲      success       ─► done           │
///                                  └──────────────────────────────────────┘
/// ```
///
/// [`step`](Self::step) of a SCRAM login hashes the password as often as the server says, up to
/// [`ITERATIONS_MAX`] times: a few milliseconds in most cases, so that a client of many
/// connections may wish to run it on a thread that can wait. A login is `Send`.
///
/// ```
/// use nuthatch_transport::sasl::{Login, Mechanism};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let offered = b"CRAM-MD5 PLAIN"; // What LIST MECHS says.
/// let mut login = Login::choose(offered, &Mechanism::DEFAULT, "sammy", "S3cretPw")?;
/// assert_eq!(login.name(), "PLAIN");
/// assert_eq!(login.initial(), b"\0sammy\0S3cretPw");
/// login.done(b"")?; // The server said yes.
/// # Ok(())
/// # }
/// ```
pub struct Login(Box<dyn Client + Send>);

impl Login {
    /// Chooses the first of these mechanisms that the server offers. `offered` is the server's
    /// list, names separated by spaces.
    ///
    /// Leave out [`Mechanism::Plain`] where nobody but the server may see the password and the
    /// connection is not encrypted.
    ///
    /// # Errors
    ///
    /// [`LoginError`]: nothing in common, a user or password that cannot be sent (with a byte 0),
    /// or no random bytes.
    pub fn choose(
        offered: &[u8],
        wanted: &[Mechanism],
        user: &str,
        password: &str,
    ) -> Result<Self, LoginError> {
        let offers = |wanted: &&Mechanism| {
            offered
                .split(u8::is_ascii_whitespace)
                .any(|one| Mechanism::parse(one) == Some(**wanted))
        };
        let mechanism = wanted.iter().find(offers).ok_or(LoginError::NoMechanism)?;
        if user.contains('\0') || password.contains('\0') {
            return Err(LoginError::Unsendable);
        }
        let credentials = Credentials::default().with_username(user).with_password(password);
        Self::with(*mechanism, credentials).map_err(LoginError::of)
    }

    fn with(mechanism: Mechanism, credentials: Credentials) -> Result<Self, MechanismError> {
        Ok(Self(match mechanism {
            Mechanism::Scram(ScramHash::Sha1) => {
                Box::new(Scram::<false>::from_credentials(credentials)?)
            }
            Mechanism::Scram(ScramHash::Sha256) => {
                Box::new(Scram::<true>::from_credentials(credentials)?)
            }
            Mechanism::Plain => Box::new(Plain::from_credentials(credentials)?),
            Mechanism::CramMd5 => Box::new(CramMd5::from_credentials(credentials)?),
        }))
    }

    /// The mechanism's name.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// What the first message carries.
    pub fn initial(&mut self) -> Vec<u8> {
        self.0.initial()
    }

    /// The answer to a challenge. May hash.
    ///
    /// # Errors
    ///
    /// [`LoginError::Server`]: the server said what it should not, or more than
    /// [`MESSAGE_LEN_MAX`] bytes; give up the connection.
    pub fn step(&mut self, challenge: &[u8]) -> Result<Vec<u8>, LoginError> {
        if challenge.len() > MESSAGE_LEN_MAX {
            return Err(LoginError::of(MechanismError::CannotDecodeChallenge));
        }
        self.0.response(challenge).map_err(LoginError::of)
    }

    /// The server said yes, with this data: what SCRAM's last message is where no challenge brought
    /// it before, and nothing that matters otherwise.
    ///
    /// # Errors
    ///
    /// [`LoginError::Server`]: it has not proved that it knows the password; give up the
    /// connection.
    pub fn done(&mut self, data: &[u8]) -> Result<(), LoginError> {
        self.0.success(data).map_err(LoginError::of)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.name())
    }
}

/// Why a client cannot log in.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The server offers nothing that the client wants.
    #[error("the server offers no mechanism that is wanted")]
    NoMechanism,
    /// A user or password has a byte 0.
    #[error("a user or password with a byte 0 cannot be sent")]
    Unsendable,
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    NoRandom,
    /// The server said something that it should not.
    #[error("the server's login message: {0}")]
    Server(String),
}

impl LoginError {
    fn of(error: MechanismError) -> Self {
        match error {
            MechanismError::CannotGenerateNonce => Self::NoRandom,
            other => Self::Server(other.to_string()),
        }
    }
}

/// SCRAM with SHA-1 or, if `IS_256`, with SHA-256.
struct Scram<const IS_256: bool> {
    password: Zeroizing<String>,
    bare: String,
    nonce: String,
    state: Progress,
}

enum Progress {
    /// The server is to send salt and iterations.
    First,
    /// The server is to prove itself with this signature.
    Proof(Digest),
    Proven,
    Broken,
}

impl<const IS_256: bool> Scram<IS_256> {
    const HASH: ScramHash = if IS_256 { ScramHash::Sha256 } else { ScramHash::Sha1 };

    fn new(user: &str, password: &str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user},r={nonce}");
        let password = Zeroizing::new(password.to_owned());
        Self { password, bare, nonce, state: Progress::First }
    }

    fn prove(&mut self, challenge: &[u8]) -> Result<Vec<u8>, MechanismError> {
        let unreadable = |_| MechanismError::CannotDecodeChallenge;
        // No extension is understood, and none may come before these three but one that must be.
        let mut parts = challenge.split(|byte| *byte == b',');
        let nonce = attribute(parts.next(), b'r').map_err(|_| MechanismError::NoServerNonce)?;
        let salt = attribute(parts.next(), b's').map_err(|_| MechanismError::NoServerSalt)?;
        let iterations =
            attribute(parts.next(), b'i').map_err(|_| MechanismError::NoServerIterations)?;
        // The server must have added something of its own; how much is bounded by the message.
        if !nonce.starts_with(self.nonce.as_bytes())
            || nonce.len() == self.nonce.len()
            || !nonce.chunks(128).all(is_nonce)
        {
            return Err(MechanismError::NoServerNonce);
        }
        let salt = base64(salt).map_err(unreadable)?;
        let iterations = std::str::from_utf8(iterations).ok().and_then(number);
        let iterations = iterations
            .filter(|iterations| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(iterations))
            .ok_or(MechanismError::NoServerIterations)?;
        if !(1..=SALT_LEN_MAX).contains(&salt.len()) {
            return Err(MechanismError::NoServerSalt);
        }
        let hash = Self::HASH;
        let salted = hash.salted(&prepared(self.password.as_bytes()), &salt, iterations);
        let client_key = hash.hmac(salted.as_slice(), b"Client Key");
        let stored = hash.digest(client_key.as_slice());
        // "biws" is the base64 of "n,,": no channel binding here.
        let last = [b"c=biws,r=", nonce].concat();
        let text = [self.bare.as_bytes(), challenge, &last].join(&b',');
        let proof = hash.hmac(stored.as_slice(), &text).xor(&client_key);
        let server_key = hash.hmac(salted.as_slice(), b"Server Key");
        self.state = Progress::Proof(hash.hmac(server_key.as_slice(), &text));
        let proof = Base64::encode_string(proof.as_slice());
        Ok([&last[..], b",p=", proof.as_bytes()].concat())
    }

    fn verify(&mut self, expected: &Digest, message: &[u8]) -> Result<(), MechanismError> {
        let signature = message.split(|byte| *byte == b',').next();
        let signature = attribute(signature, b'v')
            .and_then(base64)
            .map_err(|_| MechanismError::NoSignatureInSuccessResponse)?;
        let is_right = signature.len() == Self::HASH.len()
            && bool::from(Digest::from_slice(&signature).ct_eq(expected));
        if !is_right {
            return Err(MechanismError::InvalidSignatureInSuccessResponse);
        }
        self.state = Progress::Proven;
        Ok(())
    }
}

impl<const IS_256: bool> Client for Scram<IS_256> {
    fn name(&self) -> &str {
        Self::HASH.mechanism()
    }

    fn from_credentials(credentials: Credentials) -> Result<Self, MechanismError> {
        let (user, password) = user_and_password(credentials)?;
        let mut bytes = [0; 18];
        getrandom::fill(&mut bytes).map_err(|_| MechanismError::CannotGenerateNonce)?;
        Ok(Self::new(&user, &password, Base64::encode_string(&bytes)))
    }

    fn initial(&mut self) -> Vec<u8> {
        format!("n,,{}", self.bare).into_bytes()
    }

    fn response(&mut self, challenge: &[u8]) -> Result<Vec<u8>, MechanismError> {
        match std::mem::replace(&mut self.state, Progress::Broken) {
            // A server that has had nothing yet asks for the first message.
            Progress::First if challenge.is_empty() => {
                self.state = Progress::First;
                Ok(self.initial())
            }
            Progress::First => self.prove(challenge),
            Progress::Proof(expected) => self.verify(&expected, challenge).map(|()| Vec::new()),
            Progress::Proven | Progress::Broken => Err(MechanismError::InvalidState),
        }
    }

    fn success(&mut self, data: &[u8]) -> Result<(), MechanismError> {
        match std::mem::replace(&mut self.state, Progress::Broken) {
            // Whoever logs in by SASL in a protocol whose success has data has had no challenge.
            Progress::Proof(expected) => self.verify(&expected, data),
            Progress::Proven => Ok(()),
            Progress::First | Progress::Broken => Err(MechanismError::NoSignatureInSuccessResponse),
        }
    }
}

struct CramMd5 {
    user: String,
    password: Zeroizing<String>,
    is_answered: bool,
}

impl Client for CramMd5 {
    fn name(&self) -> &str {
        Mechanism::CramMd5.name()
    }

    fn from_credentials(credentials: Credentials) -> Result<Self, MechanismError> {
        let (user, password) = user_and_password(credentials)?;
        Ok(Self { user, password, is_answered: false })
    }

    fn response(&mut self, challenge: &[u8]) -> Result<Vec<u8>, MechanismError> {
        if challenge.is_empty() || std::mem::replace(&mut self.is_answered, true) {
            return Err(MechanismError::InvalidState);
        }
        let proof = cram::proof(self.password.as_bytes(), challenge);
        Ok([self.user.as_bytes(), b" ", &proof].concat())
    }
}

fn user_and_password(
    credentials: Credentials,
) -> Result<(String, Zeroizing<String>), MechanismError> {
    let SaslIdentity::Username(user) = credentials.identity else {
        return Err(MechanismError::ScramRequiresUsername);
    };
    let Secret::Password(SaslPassword::Plain(password)) = credentials.secret else {
        return Err(MechanismError::ScramRequiresPassword);
    };
    Ok((user, Zeroizing::new(password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3.
    #[test]
    fn the_standard_s_example() {
        let mut login =
            Login(Box::new(Scram::<true>::new("user", "pencil", "rOprNGfwEbeRWgbNEkqO".into())));
        assert_eq!(login.initial(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        assert_eq!(login.step(b"").unwrap(), login.initial());
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let first = format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        let proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let expected = format!("c=biws,r={nonce},p={proof}");
        assert_eq!(login.step(first.as_bytes()).unwrap(), expected.as_bytes());
        let last = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(login.step(last).unwrap(), b"");
        login.done(b"Authenticated").unwrap();
    }

    #[test]
    fn servers_that_prove_nothing_are_refused() {
        let first = "r=abcdef,s=c2FsdA==,i=4096";
        let login = || Login(Box::new(Scram::<false>::new("user", "pencil", "abc".into())));
        for bad in [
            "",
            "r=abc,s=c2FsdA==,i=4096",
            "r=xyzdef,s=c2FsdA==,i=4096",
            "r=abcdef,s=,i=4096",
            "r=abcdef,s=c2FsdA=,i=4096",
            "r=abcdef,s=c2FsdA==,i=4095",
            "r=abcdef,s=c2FsdA==,i=1000001",
            "r=abcdef,s=c2FsdA==",
            "m=x,r=abcdef,s=c2FsdA==,i=4096",
            &format!("r=abc{},s=c2FsdA==,i=4096", "x".repeat(MESSAGE_LEN_MAX)),
        ] {
            let mut login = login();
            let answer = login.step(bad.as_bytes());
            assert!(bad.is_empty() || answer.is_err(), "{bad}");
            assert!(login.done(b"").is_err());
        }
        for bad in [&b"v=AAAA"[..], b"e=invalid-proof", b"", b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAA="] {
            let mut login = login_after(first);
            assert!(login.step(bad).is_err());
            assert!(login.step(first.as_bytes()).is_err() && login.done(bad).is_err());
            let mut login = login_after(first);
            assert!(login.done(bad).is_err(), "success without a proof");
        }
    }

    fn login_after(first: &str) -> Login {
        let mut login = Login(Box::new(Scram::<false>::new("user", "pencil", "abc".into())));
        login.step(first.as_bytes()).unwrap();
        login
    }

    #[test]
    fn the_first_that_both_want_is_chosen() {
        let choose = |offered: &str, wanted: &[Mechanism]| {
            let login = Login::choose(offered.as_bytes(), wanted, "me", "pw");
            login.map(|login| login.name().to_owned())
        };
        let all = [&Mechanism::DEFAULT[..], &[Mechanism::CramMd5]].concat();
        assert_eq!(choose("PLAIN SCRAM-SHA-1 scram-sha-256", &all).unwrap(), "SCRAM-SHA-256");
        assert_eq!(choose("PLAIN SCRAM-SHA-1", &all).unwrap(), "SCRAM-SHA-1");
        assert_eq!(choose("CRAM-MD5 ANONYMOUS", &all).unwrap(), "CRAM-MD5");
        assert_eq!(choose("CRAM-MD5", &Mechanism::DEFAULT), Err(LoginError::NoMechanism));
        assert_eq!(choose("", &all), Err(LoginError::NoMechanism));
        let sent = Login::choose(b"PLAIN", &all, "me", "a\0b").unwrap_err();
        assert_eq!(sent, LoginError::Unsendable);
    }
}
