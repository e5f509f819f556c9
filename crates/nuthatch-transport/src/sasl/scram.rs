//! SCRAM's messages (RFC 5802), read and made by the server.
//!
//! ```text
//!  client-first   n,,n=user,r=cccc               gs2 header "n,,", then the bare message
//!  server-first   r=ccccssss,s=base64 salt,i=4096
//!  client-final   c=base64 of the gs2 header,r=ccccssss,p=base64 proof
//!  server-final   v=base64 signature
//! ```
//!
//! What is signed is the bare client-first, the server-first and the client-final without its
//! proof, joined by commas. This module knows neither users nor stores.

use base64ct::{Base64, Encoding};
use subtle::{Choice, ConstantTimeEq};

use super::{
    exchange::Refusal,
    hash::{Digest, ScramHash},
    keys::ScramKeys,
};

/// The longest nonce of a client, in bytes.
const NONCE_LEN_MAX: usize = 256;

/// A client's first message.
#[derive(Debug)]
pub(super) struct ClientFirst {
    /// Up to and with the second comma.
    gs2_header: Box<[u8]>,
    bare: Box<[u8]>,
    nonce: Box<[u8]>,
    pub(super) user: Box<[u8]>,
    /// Whom the user wishes to be, if it says so.
    pub(super) authzid: Option<Box<[u8]>>,
}

impl ClientFirst {
    pub(super) fn parse(message: &[u8]) -> Result<Self, Refusal> {
        let mut parts = message.splitn(3, |byte| *byte == b',');
        let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Malformed);
        };
        match flag {
            b"n" | b"y" => {}
            _ if flag.starts_with(b"p=") => return Err(Refusal::ChannelBinding),
            _ => return Err(Refusal::Malformed),
        }
        let authzid = match authzid {
            b"" => None,
            _ => Some(decoded(authzid.strip_prefix(b"a=").ok_or(Refusal::Malformed)?)?),
        };
        // Anything before the name is an extension that must be understood ("m="), and none is.
        let mut parts = bare.split(|byte| *byte == b',');
        let user = decoded(attribute(parts.next(), b'n')?)?;
        let nonce = attribute(parts.next(), b'r')?;
        if !is_nonce(nonce) || !parts.all(is_extension) {
            return Err(Refusal::Malformed);
        }
        let gs2_header = message[..message.len() - bare.len()].into();
        Ok(Self { gs2_header, bare: bare.into(), nonce: nonce.into(), user, authzid })
    }
}

/// A login of which the server's first message has been made.
#[derive(Debug)]
pub(super) struct Challenged {
    first: ClientFirst,
    /// The server's first message.
    pub(super) message: Vec<u8>,
}

impl Challenged {
    pub(super) fn new(first: ClientFirst, nonce: &str, salt: &[u8], iterations: u32) -> Self {
        let salt = Base64::encode_string(salt);
        let rest = format!("{nonce},s={salt},i={iterations}");
        let message = [b"r=", &*first.nonce, rest.as_bytes()].concat();
        Self { first, message }
    }

    /// Reads the client's last message.
    pub(super) fn answer(&self, hash: ScramHash, message: &[u8]) -> Result<Answer, Refusal> {
        const PROOF: &[u8] = b",p=";
        let at = message.windows(PROOF.len()).rposition(|window| window == PROOF);
        let at = at.ok_or(Refusal::Malformed)?;
        let (signed, proof) = (&message[..at], &message[at + PROOF.len()..]);
        let mut parts = signed.split(|byte| *byte == b',');
        let header = base64(attribute(parts.next(), b'c')?)?;
        let nonce = attribute(parts.next(), b'r')?;
        let proof = base64(proof)?;
        // The nonce is what this very server sent, from "r=" to the comma.
        let sent = self.message[2..].split(|byte| *byte == b',').next();
        if *header != *self.first.gs2_header
            || Some(nonce) != sent
            || proof.len() != hash.len()
            || !parts.all(is_extension)
        {
            return Err(Refusal::Malformed);
        }
        let text = [&*self.first.bare, b",", &self.message, b",", signed].concat();
        Ok(Answer { text, proof: Digest::from_slice(&proof) })
    }
}

/// A client's proof, and the text that it signs.
#[derive(Debug)]
pub(super) struct Answer {
    text: Vec<u8>,
    proof: Digest,
}

impl Answer {
    /// Whether the client knows what the keys were made of.
    pub(super) fn is_right(&self, keys: &ScramKeys) -> Choice {
        let signature = keys.hash.hmac(keys.stored.as_slice(), &self.text);
        let client_key = signature.xor(&self.proof);
        keys.hash.digest(client_key.as_slice()).ct_eq(&keys.stored)
    }

    /// The server's last message: that it knows the keys.
    pub(super) fn last(&self, keys: &ScramKeys) -> Vec<u8> {
        let signature = keys.hash.hmac(keys.server.as_slice(), &self.text);
        format!("v={}", Base64::encode_string(signature.as_slice())).into_bytes()
    }
}

/// The value of `x=value`.
pub(super) fn attribute(part: Option<&[u8]>, letter: u8) -> Result<&[u8], Refusal> {
    part.and_then(|part| part.strip_prefix(&[letter, b'='])).ok_or(Refusal::Malformed)
}

/// Whether this may be ignored: an attribute, but not `m`, which says that it may not.
fn is_extension(part: &[u8]) -> bool {
    matches!(part, [letter, b'=', ..] if letter.is_ascii_alphabetic() && *letter != b'm')
}

/// Whether these can be a nonce: printable, without a comma.
pub(super) fn is_nonce(bytes: &[u8]) -> bool {
    let is_printable = |byte: &u8| byte.is_ascii_graphic() && *byte != b',';
    (1..=NONCE_LEN_MAX).contains(&bytes.len()) && bytes.iter().all(is_printable)
}

pub(super) fn base64(text: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>, Refusal> {
    let text = std::str::from_utf8(text).map_err(|_| Refusal::Malformed)?;
    Base64::decode_vec(text).map(zeroize::Zeroizing::new).map_err(|_| Refusal::Malformed)
}

/// A name in which `,` and `=` are written `=2C` and `=3D`.
fn decoded(name: &[u8]) -> Result<Box<[u8]>, Refusal> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let byte = match (byte, after.get(..2)) {
            (b'=', Some(code)) => {
                rest = &after[2..];
                match code {
                    b"2C" => b',',
                    b"3D" => b'=',
                    _ => return Err(Refusal::Malformed),
                }
            }
            (b'=', None) => return Err(Refusal::Malformed),
            _ => *byte,
        };
        plain.push(byte);
    }
    if plain.is_empty() { Err(Refusal::Malformed) } else { Ok(plain.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenged(first: &str, nonce: &str, salt: &str) -> Challenged {
        let salt = base64(salt.as_bytes()).unwrap();
        Challenged::new(ClientFirst::parse(first.as_bytes()).unwrap(), nonce, &salt, 4096)
    }

    /// The examples of RFC 5802, section 5, and RFC 7677, section 3.
    #[test]
    fn the_standard_s_examples() {
        for (hash, client, server, salt, proof, signature) in [
            (
                ScramHash::Sha1,
                "fyko+d2lbbFgONRv9qkxdawL",
                "3rfcNHYJY1ZVvWVs7j",
                "QSXCR+Q6sek8bf92",
                "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            ),
            (
                ScramHash::Sha256,
                "rOprNGfwEbeRWgbNEkqO",
                "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
                "W22ZaJ0SNY7soEsUEjb6gQ==",
                "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
        ] {
            let challenged = challenged(&format!("n,,n=user,r={client}"), server, salt);
            let expected = format!("r={client}{server},s={salt},i=4096");
            assert_eq!(challenged.message, expected.as_bytes());
            let last = format!("c=biws,r={client}{server},p={proof}");
            let answer = challenged.answer(hash, last.as_bytes()).unwrap();
            let salt = base64(salt.as_bytes()).unwrap();
            let keys = ScramKeys::derive(hash, b"pencil", &salt, 4096);
            assert!(bool::from(answer.is_right(&keys)));
            assert_eq!(answer.last(&keys), format!("v={signature}").as_bytes());
            let other = ScramKeys::derive(hash, b"pencils", &salt, 4096);
            assert!(!bool::from(answer.is_right(&other)));
        }
    }

    #[test]
    fn first_messages() {
        let first = |text: &str| ClientFirst::parse(text.as_bytes());
        for (text, user, authzid) in [
            ("n,,n=sammy,r=x", "sammy", None),
            ("y,,n=sammy,r=x", "sammy", None),
            ("n,a=me=2Ctoo,n=a=2Cb=3Dc,r=x", "a,b=c", Some("me,too")),
            ("n,,n=sammy,r=x,t=later,z=", "sammy", None),
        ] {
            let first = first(text).unwrap();
            assert_eq!(*first.user, *user.as_bytes());
            assert_eq!(first.authzid.as_deref(), authzid.map(str::as_bytes));
            assert_eq!([&*first.gs2_header, &*first.bare].concat(), text.as_bytes());
        }
        for binding in ["p=tls-unique,,n=sammy,r=x", "p=,,n=sammy,r=x"] {
            assert_eq!(first(binding).unwrap_err(), Refusal::ChannelBinding);
        }
        let long = format!("n,,n=sammy,r={}", "x".repeat(NONCE_LEN_MAX + 1));
        for text in [
            "",
            "n",
            "n,",
            "n,,",
            "x,,n=sammy,r=x",
            "n,b=me,n=sammy,r=x",
            "n,a=,n=sammy,r=x",
            "n,,m=must,n=sammy,r=x",
            "n,,n=sammy,r=x,m=must",
            "n,,n=sammy,r=x,1=a",
            "n,,n=sammy,r=x,",
            "n,,n=,r=x",
            "n,,n=a=2c,r=x",
            "n,,n=a=,r=x",
            "n,,n=a=2,r=x",
            "n,,n=sammy,r=",
            "n,,n=sammy,r=a b",
            "n,,n=sammy",
            "n,,r=x,n=sammy",
            &long,
        ] {
            assert_eq!(first(text).unwrap_err(), Refusal::Malformed, "{text}");
        }
    }

    #[test]
    fn last_messages() {
        let challenged = challenged("y,,n=user,r=abc", "def", "c2FsdA==");
        let answer = |text: &str| challenged.answer(ScramHash::Sha1, text.as_bytes());
        let proof = "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
        // The header's base64 is of "y,,".
        assert!(answer(&format!("c=eSws,r=abcdef,p={proof}")).is_ok());
        assert!(answer(&format!("c=eSws,r=abcdef,x=y,p={proof}")).is_ok());
        for text in [
            "".to_owned(),
            format!("c=biws,r=abcdef,p={proof}"),
            format!("c=eSws,r=abc,p={proof}"),
            format!("c=eSws,r=abcdefg,p={proof}"),
            format!("c=eSws,r=abcdef,m=x,p={proof}"),
            format!("r=abcdef,c=eSws,p={proof}"),
            format!("c=eSws,r=abcdef,p={proof},x=y"),
            format!("c=eSws,r=abcdef,p={}", proof.trim_end_matches('=')),
            "c=eSws,r=abcdef,p=".to_owned(),
            "c=eSws,r=abcdef".to_owned(),
            format!("p={proof}"),
        ] {
            assert_eq!(answer(&text).unwrap_err(), Refusal::Malformed, "{text}");
        }
    }
}
