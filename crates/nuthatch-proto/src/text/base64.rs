//! Base64 keys of the meta commands.
//!
//! memcached's decoder is forgiving: bytes outside the alphabet are skipped, and it stops at the
//! first group with padding. Clients have come to rely on nothing of this, but two servers that
//! disagree about which item a key names would be worse than a forgiving one.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Appends `bytes` in base64, with padding.
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for group in bytes.chunks(3) {
        let b = [group[0], *group.get(1).unwrap_or(&0), *group.get(2).unwrap_or(&0)];
        let letter = |index: u8| ALPHABET[usize::from(index & 63)];
        out.push(letter(b[0] >> 2));
        out.push(letter(b[0] << 4 | b[1] >> 4));
        out.push(if group.len() > 1 { letter(b[1] << 2 | b[2] >> 6) } else { b'=' });
        out.push(if group.len() > 2 { letter(b[2]) } else { b'=' });
    }
}

/// Decodes `text` into `out` and gives the length; `None` where it is no base64, decodes to
/// nothing, or does not fit.
pub(crate) fn decode(text: &[u8], out: &mut [u8]) -> Option<usize> {
    let n_letters = text.iter().filter(|byte| value(**byte).is_some()).count();
    if n_letters == 0 || n_letters % 4 != 0 || n_letters / 4 * 3 > out.len() {
        return None;
    }
    let mut letters = text.iter().filter_map(|byte| Some((*byte, value(*byte)?)));
    let mut len = 0;
    while let Some((b0, v0)) = letters.next() {
        let ((b1, v1), (b2, v2), (b3, v3)) = (letters.next()?, letters.next()?, letters.next()?);
        out[len..len + 3].copy_from_slice(&[v0 << 2 | v1 >> 4, v1 << 4 | v2 >> 2, v2 << 6 | v3]);
        len += 3;
        match [b0, b1, b2, b3].iter().filter(|byte| **byte == b'=').count() {
            0 => {}
            n @ 1..=2 => {
                len -= n;
                break;
            }
            _ => return None,
        }
    }
    Some(len)
}

/// The six bits of a letter; 0 for the padding.
fn value(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        b'=' => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(text: &[u8]) -> Option<Vec<u8>> {
        let mut out = [0; 188];
        decode(text, &mut out).map(|len| out[..len].to_vec())
    }

    #[test]
    fn known_answers() {
        for (plain, text) in [
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("\u{ff}", "w78="),
        ] {
            let mut out = Vec::new();
            encode(plain.as_bytes(), &mut out);
            assert_eq!(out, text.as_bytes());
            assert_eq!(decoded(text.as_bytes()).as_deref(), Some(plain.as_bytes()));
        }
    }

    #[test]
    fn strange_bytes_are_skipped_and_broken_groups_refused() {
        assert_eq!(decoded(b"Z!m#9v").as_deref(), Some(&b"foo"[..]));
        assert_eq!(decoded(b"Zg==Zg==").as_deref(), Some(&b"f"[..]), "it ends at the padding");
        for bad in [&b""[..], b"Zm9", b"====", b"!!!", b"Z==="] {
            assert_eq!(decoded(bad), None, "{}", bad.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(key in proptest::collection::vec(any::<u8>(), 1..=186)) {
            let mut text = Vec::new();
            encode(&key, &mut text);
            prop_assert_eq!(decoded(&text), Some(key));
        }

        #[test]
        fn no_bytes_panic(text: Vec<u8>) {
            let _ = decoded(&text);
        }
    }
}
