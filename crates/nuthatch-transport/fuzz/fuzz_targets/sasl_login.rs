//! Any messages of a client are answered, in any order, and nobody gets in who does not know the
//! password.
//!
//! The first byte chooses the mechanism; messages are separated by line ends. `$` stands for the
//! nonce of the last challenge, so that a client's last message can be found.

#![no_main]

use std::{sync::LazyLock, time::SystemTime};

use libfuzzer_sys::fuzz_target;
use nuthatch_transport::{
    passwords::Users,
    sasl::{Authenticator, Mechanism, ScramHash, Step},
};

const MECHANISMS: [Mechanism; 4] = [
    Mechanism::Scram(ScramHash::Sha256),
    Mechanism::Scram(ScramHash::Sha1),
    Mechanism::Plain,
    Mechanism::CramMd5,
];

static AUTHENTICATOR: LazyLock<Authenticator> = LazyLock::new(|| {
    let keys = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
                WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
                wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    // No fuzzer guesses 40 bytes.
    let users = format!("user:{keys}\nsammy:{}\n", "0123456789".repeat(4));
    let users = Users::parse(users.as_bytes()).expect("these are users");
    Authenticator::builder(users).mechanisms(&MECHANISMS).build().expect("it can be made")
});

fuzz_target!(|data: &[u8]| {
    let Some((which, messages)) = data.split_first() else {
        return;
    };
    let mechanism = MECHANISMS[usize::from(*which) % 4];
    let mut exchange = AUTHENTICATOR.exchange();
    let mut challenge = Vec::new();
    for (number, message) in messages.split(|byte| *byte == b'\n').enumerate() {
        let message = with_nonce(message, &challenge);
        let mut step = if number == 0 {
            exchange.start(mechanism.name().as_bytes(), &message)
        } else {
            exchange.step(&message)
        };
        while let Step::Work(job) = step {
            step = exchange.finish(job.run(SystemTime::UNIX_EPOCH));
        }
        match step {
            Step::Challenge(text) => challenge = text,
            Step::Refused(_) => {}
            other => panic!("{other:?} for {:?}", messages.escape_ascii().to_string()),
        }
    }
});

fn with_nonce(message: &[u8], challenge: &[u8]) -> Vec<u8> {
    let nonce =
        challenge.strip_prefix(b"r=").and_then(|rest| rest.split(|byte| *byte == b',').next());
    let mut whole = Vec::new();
    for byte in message {
        match nonce {
            Some(nonce) if *byte == b'$' => whole.extend_from_slice(nonce),
            _ => whole.push(*byte),
        }
    }
    whole
}
