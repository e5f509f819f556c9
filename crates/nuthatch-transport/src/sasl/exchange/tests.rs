//! Whole logins, with the client of this crate and with messages by hand.

use std::time::Duration;

use super::*;
use crate::{
    passwords::Users,
    sasl::{ITERATIONS_DEFAULT, Login},
};

const ALL: [Mechanism; 4] = [
    Mechanism::Scram(ScramHash::Sha256),
    Mechanism::Scram(ScramHash::Sha1),
    Mechanism::Plain,
    Mechanism::CramMd5,
];

fn authenticator(users: &str) -> Authenticator {
    let users = Users::parse(users.as_bytes()).unwrap();
    Authenticator::builder(users).mechanisms(&ALL).realms(Realms::named(b"vm")).build().unwrap()
}

/// Runs jobs until there is something to say. Gives how many there were, too.
fn settle(exchange: &mut Exchange, mut step: Step) -> (Step, usize) {
    for n_jobs in 0.. {
        match step {
            Step::Work(job) => {
                assert!(exchange.is_working());
                step = exchange.finish(job.run(SystemTime::UNIX_EPOCH + Duration::from_secs(9)));
            }
            other => return (other, n_jobs),
        }
    }
    unreachable!()
}

/// A whole login by the client of this crate.
fn log_in(
    authenticator: &Authenticator,
    mechanism: Mechanism,
    user: &str,
    password: &str,
) -> String {
    let mut login =
        Login::choose(authenticator.list().as_bytes(), &[mechanism], user, password).unwrap();
    let mut exchange = authenticator.exchange();
    let initial = login.initial();
    let mut step = exchange.start(login.name().as_bytes(), &initial);
    loop {
        match settle(&mut exchange, step).0 {
            Step::Challenge(challenge) => step = exchange.step(&login.step(&challenge).unwrap()),
            Step::Done(identity) => {
                login.done(b"").unwrap();
                return identity.to_string();
            }
            Step::Refused(refusal) => return refusal.to_string(),
            Step::Work(_) => unreachable!(),
        }
    }
}

#[test]
fn client_and_server_understand_one_another() {
    let keys = |hash| ScramKeys::make(hash, b"hidden", ITERATIONS_MIN).unwrap();
    let authenticator = authenticator(&format!(
        "sammy:S3cretPw\na,b=c:comma\nnew:{}\nold:{}\nsch\u{f6}n:p\u{e4}ss\u{2168}",
        keys(ScramHash::Sha256),
        keys(ScramHash::Sha1)
    ));
    assert_eq!(authenticator.list(), "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN CRAM-MD5");
    for mechanism in ALL {
        for (user, password) in [("sammy", "S3cretPw"), ("a,b=c", "comma")] {
            assert_eq!(log_in(&authenticator, mechanism, user, password), user);
        }
        for (user, password) in
            [("sammy", "s3cretPw"), ("sammy", ""), ("nobody", "S3cretPw"), ("new", "S3cretPw")]
        {
            let said = log_in(&authenticator, mechanism, user, password);
            assert_eq!(said, "authentication failure", "{mechanism:?} {user}");
        }
        let new = log_in(&authenticator, mechanism, "new", "hidden");
        let can_be = !matches!(mechanism, Mechanism::CramMd5 | Mechanism::Scram(ScramHash::Sha1));
        assert_eq!(new == "new", can_be, "{mechanism:?}");
        let old = log_in(&authenticator, mechanism, "old", "hidden");
        let can_be = !matches!(mechanism, Mechanism::CramMd5 | Mechanism::Scram(ScramHash::Sha256));
        assert_eq!(old == "old", can_be, "{mechanism:?}");
        let other = log_in(&authenticator, mechanism, "sch\u{f6}n", "p\u{e4}ss\u{2168}");
        assert_eq!(other, r"sch\xc3\xb6n");
    }
    // What is hashed may be written in another way.
    for mechanism in [Mechanism::Scram(ScramHash::Sha256), Mechanism::Scram(ScramHash::Sha1)] {
        let same = log_in(&authenticator, mechanism, "sch\u{f6}n", "pa\u{308}ssIX");
        assert_eq!(same, r"sch\xc3\xb6n");
    }
}

#[test]
fn plain_messages_have_exactly_three_parts() {
    let authenticator = authenticator("sammy:S3cretPw\nempty:\n");
    let mut exchange = authenticator.exchange();
    for (message, expected) in [
        ("\0sammy\0S3cretPw", None),
        ("sammy\0sammy\0S3cretPw", None),
        ("sammy@vm\0sammy\0S3cretPw", None),
        ("\0 sammy\t\0S3cretPw", None),
        ("other\0sammy\0S3cretPw", Some(Refusal::Wrong)),
        ("sammy@other\0sammy\0S3cretPw", Some(Refusal::Wrong)),
        ("\0sammy\0wrong", Some(Refusal::Wrong)),
        ("\0\0S3cretPw", Some(Refusal::Wrong)),
        ("\0 \0S3cretPw", Some(Refusal::Wrong)),
        ("\0empty\0", Some(Refusal::Wrong)),
        ("\0sammy\0S3cretPw\0", Some(Refusal::Malformed)),
        ("\0sammy\0S3cretPw\0junk", Some(Refusal::Malformed)),
        ("sammy\0S3cretPw", Some(Refusal::Malformed)),
        ("sammy", Some(Refusal::Malformed)),
    ] {
        let step = exchange.start(b"plain", message.as_bytes());
        match settle(&mut exchange, step).0 {
            Step::Done(identity) => assert_eq!(identity, Identity::of_user(b"sammy")),
            Step::Refused(refusal) => assert_eq!(Some(refusal), expected, "{message:?}"),
            other => panic!("{other:?}"),
        }
        // What is over is over.
        assert!(matches!(exchange.step(b""), Step::Refused(Refusal::Malformed)));
    }
    let long = vec![b'x'; MESSAGE_LEN_MAX + 1];
    assert!(matches!(exchange.start(b"PLAIN", &long), Step::Refused(Refusal::Malformed)));
}

#[test]
fn the_first_data_may_come_later() {
    let authenticator = authenticator("sammy:S3cretPw\n");
    let mut exchange = authenticator.exchange();
    let Step::Challenge(challenge) = exchange.start(b"PLAIN", b"") else { panic!() };
    assert!(challenge.is_empty());
    let step = exchange.step(b"\0sammy\0S3cretPw");
    assert!(matches!(settle(&mut exchange, step).0, Step::Done(_)));
    let Step::Challenge(_) = exchange.start(b"SCRAM-SHA-1", b"") else { panic!() };
    assert!(matches!(exchange.step(b""), Step::Refused(Refusal::Malformed)));
    assert!(matches!(exchange.start(b"CRAM-MD5", b"x"), Step::Refused(Refusal::Malformed)));
    for unknown in [&b"ANONYMOUS"[..], b"", b"PLAIN-PLUS", b"LOGIN"] {
        assert!(matches!(exchange.start(unknown, b"x"), Step::Refused(Refusal::NoMechanism)));
    }
}

#[test]
fn what_is_not_offered_is_refused() {
    let users = Users::parse(b"sammy:S3cretPw\n").unwrap();
    let authenticator = Authenticator::builder(users).build().unwrap();
    assert_eq!(authenticator.list(), "SCRAM-SHA-256 SCRAM-SHA-1 PLAIN");
    let mut exchange = authenticator.exchange();
    assert!(matches!(exchange.start(b"CRAM-MD5", b""), Step::Refused(Refusal::NoMechanism)));
    let nothing = Authenticator::builder(Users::default()).mechanisms(&[]).build();
    assert_eq!(nothing.unwrap_err(), SaslError::NoMechanism);
    let few = Authenticator::builder(Users::default()).iterations(1).build();
    assert_eq!(few.unwrap_err(), SaslError::Iterations);
}

#[test]
fn jobs_of_another_login_do_not_count() {
    let authenticator = authenticator("sammy:S3cretPw\n");
    let (mut exchange, now) = (authenticator.exchange(), SystemTime::UNIX_EPOCH);
    let Step::Work(right) = exchange.start(b"PLAIN", b"\0sammy\0S3cretPw") else { panic!() };
    let Step::Work(wrong) = exchange.start(b"PLAIN", b"\0sammy\0wrong") else { panic!() };
    let right = right.run(now);
    assert!(matches!(exchange.step(b""), Step::Refused(Refusal::Malformed)));
    assert!(matches!(exchange.finish(right), Step::Refused(Refusal::Malformed)));
    assert!(matches!(exchange.finish(wrong.run(now)), Step::Refused(Refusal::Malformed)));
    let Step::Work(job) = exchange.start(b"PLAIN", b"\0sammy\0S3cretPw") else { panic!() };
    assert!(matches!(exchange.finish(job.run(now)), Step::Done(_)));

    let (mut one, mut other) = (authenticator.exchange(), authenticator.exchange());
    let Step::Work(right) = one.start(b"PLAIN", b"\0sammy\0S3cretPw") else { panic!() };
    let Step::Work(_) = other.start(b"PLAIN", b"\0sammy\0wrong") else { panic!() };
    let right = right.run(now);
    assert!(matches!(other.finish(right), Step::Refused(Refusal::Malformed)));
    assert!(one.is_working());
}

/// The salt and the iterations of a challenge, and how many jobs it took to be refused.
fn probe(authenticator: &Authenticator, mechanism: &str, user: &str) -> (String, String, usize) {
    let mut exchange = authenticator.exchange();
    let first = exchange.start(mechanism.as_bytes(), format!("n,,n={user},r=abc").as_bytes());
    let (Step::Challenge(challenge), 1) = settle(&mut exchange, first) else { panic!() };
    let challenge = String::from_utf8(challenge).unwrap();
    let parts: Vec<_> = challenge.split(',').collect();
    let proof = Base64::encode_string(&vec![7; if mechanism.ends_with('1') { 20 } else { 32 }]);
    let last = exchange.step(format!("c=biws,{},p={proof}", parts[0]).as_bytes());
    let (Step::Refused(Refusal::Wrong), n_jobs) = settle(&mut exchange, last) else { panic!() };
    (parts[1].to_owned(), parts[2].to_owned(), n_jobs)
}

#[test]
fn nobody_learns_who_exists() {
    let keys = ScramKeys::make(ScramHash::Sha256, b"x", ITERATIONS_DEFAULT).unwrap();
    let hashed = format!("a:{keys}\n");
    for (users, mechanism, known, iterations) in [
        ("a:x\n", "SCRAM-SHA-256", "a", 4096),
        ("a:x\n", "SCRAM-SHA-1", "a", 4096),
        (&hashed, "SCRAM-SHA-256", "a", 16384),
    ] {
        let authenticator = authenticator(users);
        // No proof is looked at but by a job, whose number can be limited.
        let expected = (format!("i={iterations}"), 1);
        for user in [known, "nobody", "nobody@vm", "somebody"] {
            let (salt, iterations, n_jobs) = probe(&authenticator, mechanism, user);
            assert_eq!((iterations, n_jobs), expected, "{user}");
            assert_eq!(salt.len(), 2 + 24, "16 bytes");
            assert_eq!(
                probe(&authenticator, mechanism, user).0,
                salt,
                "the same user, the same salt"
            );
        }
        let other = probe(&authenticator, mechanism, "nobody").0;
        assert_ne!(other, probe(&authenticator, mechanism, "somebody").0);
    }
    // With entries of both shapes the unknown have either.
    let authenticator = authenticator(&format!("{hashed}b:y\n"));
    let n_hashed = (0..64)
        .filter(|n| probe(&authenticator, "SCRAM-SHA-256", &format!("no{n}")).1 == "i=16384")
        .count();
    assert!((1..64).contains(&n_hashed), "{n_hashed}");
}

#[test]
fn a_proof_cannot_be_used_twice() {
    let authenticator = authenticator("sammy:S3cretPw\n");
    let mut login = Login::choose(b"SCRAM-SHA-1", &ALL, "sammy", "S3cretPw").unwrap();
    let initial = login.initial();
    let mut exchange = authenticator.exchange();
    let step = exchange.start(b"SCRAM-SHA-1", &initial);
    let (Step::Challenge(challenge), _) = settle(&mut exchange, step) else { panic!() };
    let proof = login.step(&challenge).unwrap();
    let step = exchange.step(&proof);
    let (Step::Challenge(last), _) = settle(&mut exchange, step) else { panic!() };
    assert!(last.starts_with(b"v="));
    // Something else than nothing is not what the last message is answered with.
    assert!(matches!(exchange.step(&proof), Step::Refused(Refusal::Malformed)));
    assert!(matches!(exchange.step(b""), Step::Refused(Refusal::Malformed)));

    let step = exchange.start(b"SCRAM-SHA-1", &initial);
    let (Step::Challenge(other), _) = settle(&mut exchange, step) else { panic!() };
    assert_ne!(other, challenge, "the nonce is another one");
    assert!(matches!(exchange.step(&proof), Step::Refused(Refusal::Malformed)));
}

#[test]
fn exchanges_are_small_and_jobs_go_anywhere() {
    fn goes_anywhere<T: Send + 'static>() {}
    goes_anywhere::<Exchange>();
    goes_anywhere::<Job>();
    goes_anywhere::<Worked>();
    goes_anywhere::<Login>();
    assert!(size_of::<Exchange>() <= 48);
    let shown = format!(
        "{:?}",
        authenticator("sammy:S3cretPw\n").exchange().start(b"plain", b"\0sammy\0S3cretPw")
    );
    assert!(!shown.contains("S3cretPw") && !shown.contains("83, 51"), "{shown}");
}
