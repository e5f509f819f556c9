//! Clients that others wrote, logging in: by SASL (`-S`) and by `-Y`, in the clear and over TLS.

use std::fs;

use crate::{
    guests::guest,
    sasl::{PASSWORD, Sasl, USER},
    support::start,
    tls::Identity,
};

#[test]
fn pylibmc_logs_in() {
    let Some(sasl) = Sasl::in_database() else { return };
    // The module that pip installs has a libsasl without mechanisms.
    guest("use_pylibmc.py").of_system().binary().user(USER, PASSWORD).run(&sasl.start(&[]));
}

#[test]
fn clients_of_other_languages_log_in() {
    let Some(sasl) = Sasl::in_database() else { return };
    for script in ["use_bmemcached.py", "use_dalli.rb", "use_memcached.php", "use_memjs.js"] {
        guest(script).binary().user(USER, PASSWORD).run(&sasl.start(&[]));
    }
}

#[test]
fn java_logs_in() {
    let Some(sasl) = Sasl::in_database() else { return };
    guest("UseSpymemcached.java").user(USER, PASSWORD).run(&sasl.start(&[]));
    let identity = Identity::new();
    let daemon = sasl.start(&["-Z", "-o", &identity.words()]);
    guest("UseSpymemcached.java").user(USER, PASSWORD).tls(&identity.path("cert.pem")).run(&daemon);
}

#[test]
fn clients_log_in_over_tls() {
    let Some(sasl) = Sasl::in_database() else { return };
    let identity = Identity::new();
    let words = identity.words();
    for script in ["use_bmemcached.py", "use_dalli.rb"] {
        let daemon = sasl.start(&["-Z", "-o", &words]);
        guest(script).user(USER, PASSWORD).tls(&identity.path("cert.pem")).run(&daemon);
    }
}

#[test]
fn text_clients_log_in_with_and_without_tls() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    fs::write(&users, format!("{USER}:{PASSWORD}\n")).unwrap();
    let users = ["-Y", users.to_str().unwrap()];
    guest("use_emcache.py").user(USER, PASSWORD).run(&start(users));
    let identity = Identity::new();
    let daemon = identity.start(&users);
    guest("use_emcache.py").user(USER, PASSWORD).tls(&identity.path("cert.pem")).run(&daemon);
}
