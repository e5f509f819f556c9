//! CRAM-MD5 (RFC 2195): the server sends a text, the client its name and the text's MD5 HMAC under
//! the password, in hexadecimal.
//!
//! It is here for old clients. The server must hold passwords in clear and proves nothing itself,
//! and the hash is quick enough to try many passwords against an exchange that was overheard.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use subtle::{Choice, ConstantTimeEq};

use super::exchange::Refusal;

/// The hexadecimal digits of a proof.
const PROOF_LEN: usize = 32;

/// The text to sign: `<nonce@host>`, the form of a message's name in mail.
pub(super) fn challenge(nonce: &str, host: &[u8]) -> Box<[u8]> {
    [b"<", nonce.as_bytes(), b"@", host, b">"].concat().into()
}

/// What a client answers: its name, and the proof.
pub(super) fn split(response: &[u8]) -> Result<(&[u8], [u8; PROOF_LEN]), Refusal> {
    // A name may have spaces, a proof has none.
    let (name, proof) = response.split_last_chunk::<PROOF_LEN>().ok_or(Refusal::Malformed)?;
    let name = name.strip_suffix(b" ").ok_or(Refusal::Malformed)?;
    let is_hex = proof.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_hex { Ok((name, *proof)) } else { Err(Refusal::Malformed) }
}

/// The proof that a password gives.
pub(super) fn proof(password: &[u8], challenge: &[u8]) -> [u8; PROOF_LEN] {
    let mut mac = Hmac::<Md5>::new_from_slice(password).expect("an HMAC takes a key of any length");
    mac.update(challenge);
    let mut hex = [0; PROOF_LEN];
    for (digits, byte) in hex.chunks_exact_mut(2).zip(mac.finalize().into_bytes()) {
        for (digit, half) in digits.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = if half < 10 { b'0' + half } else { b'a' + half - 10 };
        }
    }
    hex
}

/// Whether it is this password's proof.
pub(super) fn is_right(password: &[u8], challenge: &[u8], sent: &[u8; PROOF_LEN]) -> Choice {
    proof(password, challenge).ct_eq(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_s_example() {
        let challenge = challenge("1896.697170952", b"postoffice.reston.mci.net");
        let response = b"tim b913a602c7eda7a495b4e6e7334d3890";
        let (name, sent) = split(response).unwrap();
        assert_eq!(name, b"tim");
        assert!(bool::from(is_right(b"tanstaaftanstaaf", &challenge, &sent)));
        assert!(!bool::from(is_right(b"tanstaaf", &challenge, &sent)));
    }

    #[test]
    fn responses_are_a_name_and_a_proof() {
        let proof = "b913a602c7eda7a495b4e6e7334d3890";
        assert_eq!(split(format!("two words {proof}").as_bytes()).unwrap().0, b"two words");
        for bad in [
            "",
            proof,
            &format!("tim{proof}"),
            &format!("tim {proof}x"),
            &format!("tim {}", proof.to_uppercase()),
        ] {
            assert_eq!(split(bad.as_bytes()).unwrap_err(), Refusal::Malformed, "{bad}");
        }
    }
}
