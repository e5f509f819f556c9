//! Lists of ciphers as OpenSSL writes them.
//!
//! Such a list says what TLS 1.2 may use; TLS 1.3 has its own suites, which no such list touches.
//! It is read for the six suites there are: a word stands for some of them, `!` takes out for good,
//! `-` takes out, and words joined by `+` must all apply. The order means nothing, because the
//! client's counts, as in OpenSSL by default. Words that no suite answers to are passed over; a list
//! that leaves no suite is an error.

use rustls::{CipherSuite, SupportedCipherSuite};

/// A suite of TLS 1.2 and the words that stand for it.
struct Suite {
    suite: CipherSuite,
    name: &'static str,
    iana: &'static str,
    words: &'static [&'static str],
}

/// Words that stand for every suite there is.
const ALL: &[&str] =
    &["ALL", "DEFAULT", "HIGH", "TLSv1.2", "ECDH", "ECDHE", "EECDH", "kEECDH", "kECDHE"];

const SUITES: [Suite; 6] = [
    Suite {
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        name: "ECDHE-ECDSA-AES256-GCM-SHA384",
        iana: "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        words: &["aECDSA", "ECDSA", "AES", "AES256", "AESGCM", "FIPS", "SUITEB128", "SUITEB192"],
    },
    Suite {
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        name: "ECDHE-ECDSA-AES128-GCM-SHA256",
        iana: "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        words: &[
            "aECDSA",
            "ECDSA",
            "AES",
            "AES128",
            "AESGCM",
            "FIPS",
            "SUITEB128",
            "SUITEB128ONLY",
        ],
    },
    Suite {
        suite: CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        name: "ECDHE-ECDSA-CHACHA20-POLY1305",
        iana: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        words: &["aECDSA", "ECDSA", "CHACHA20"],
    },
    Suite {
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        name: "ECDHE-RSA-AES256-GCM-SHA384",
        iana: "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        words: &["aRSA", "AES", "AES256", "AESGCM", "FIPS"],
    },
    Suite {
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        name: "ECDHE-RSA-AES128-GCM-SHA256",
        iana: "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        words: &["aRSA", "AES", "AES128", "AESGCM", "FIPS"],
    },
    Suite {
        suite: CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        name: "ECDHE-RSA-CHACHA20-POLY1305",
        iana: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        words: &["aRSA", "CHACHA20"],
    },
];

impl Suite {
    fn answers_to(&self, words: &str) -> bool {
        words.split('+').all(|word| {
            ALL.contains(&word)
                || self.words.contains(&word)
                || [self.name, self.iana].contains(&word)
        })
    }
}

/// The TLS 1.2 suites that a list leaves.
fn named(list: &str) -> Vec<CipherSuite> {
    let mut chosen = [false; SUITES.len()];
    let mut killed = [false; SUITES.len()];
    for word in list.split([':', ',', ' ', ';']).filter(|word| !word.is_empty()) {
        let (sign, words) = match word.as_bytes()[0] {
            sign @ (b'!' | b'-' | b'+') => (sign, &word[1..]),
            // Sorting, and security levels: these suites are of the highest that anybody asks for.
            b'@' => continue,
            _ => (b' ', word),
        };
        let those = SUITES.iter().enumerate().filter(|(_, suite)| suite.answers_to(words));
        for (idx, _) in those {
            match sign {
                b'!' => (chosen[idx], killed[idx]) = (false, true),
                b'-' => chosen[idx] = false,
                // Moves to the end what is there.
                b'+' => {}
                _ => chosen[idx] = !killed[idx],
            }
        }
    }
    SUITES.iter().zip(chosen).filter_map(|(suite, is)| is.then_some(suite.suite)).collect()
}

/// Takes out the TLS 1.2 suites that a list does not leave; whether one is left.
pub(super) fn retain(suites: &mut Vec<SupportedCipherSuite>, list: &str) -> bool {
    let named = named(list);
    suites.retain(|suite| suite.tls13().is_some() || named.contains(&suite.suite()));
    !named.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<&'static str> {
        let named = named(list);
        let is_named = |suite: &&Suite| named.contains(&suite.suite);
        SUITES.iter().filter(is_named).map(|suite| suite.name).collect()
    }

    #[test]
    fn lists_are_read_as_openssl_reads_them() {
        assert_eq!(names("DEFAULT").len(), 6);
        assert_eq!(names("HIGH:!aNULL:!MD5:@SECLEVEL=2").len(), 6);
        assert_eq!(names("ECDHE-RSA-AES128-GCM-SHA256"), ["ECDHE-RSA-AES128-GCM-SHA256"]);
        assert_eq!(
            names("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,ECDHE-ECDSA-CHACHA20-POLY1305"),
            ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-RSA-AES128-GCM-SHA256"]
        );
        assert_eq!(
            names("EECDH+AESGCM+aRSA"),
            ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]
        );
        assert_eq!(names("ALL:!AES").len(), 2);
        assert_eq!(names("!AES:ALL").len(), 2, "what is taken out for good stays out");
        assert_eq!(names("ALL:-AES:AES128").len(), 4, "what is taken out may come back");
        assert_eq!(names("AES256-SHA:ECDHE-RSA-AES128-GCM-SHA256:+AES").len(), 1);
    }

    #[test]
    fn a_list_may_leave_none() {
        for list in ["", "NOPE", "AES256-SHA", "TLS_AES_128_GCM_SHA256", "ALL:!ALL", "RSA", "+ALL"]
        {
            assert!(names(list).is_empty(), "{list}");
        }
    }

    #[test]
    fn every_suite_of_the_provider_has_its_words() {
        let mut suites = super::super::provider().cipher_suites;
        let n = suites.len();
        assert!(retain(&mut suites, "ALL"));
        assert_eq!(suites.len(), n);
        assert!(!retain(&mut suites, "NOPE"));
        assert!(suites.iter().all(|suite| suite.tls13().is_some()) && !suites.is_empty());
    }
}
