//! Who may import whom.
//!
//! ```text
//!    server           client
//!    │ │ │            │   │
//!    │ │ └─ transport ┘   │
//!    │ └─── proto ────────┘
//!    └───── store            types below them all
//! ```
//!
//! discovery stands beside server and client, and both may ask it.
//!
//! The three in the middle know only the vocabulary below them, never one another: that is what
//! makes each of them usable alone.

use anyhow::{Context, Result};
use serde_json::Value;

/// One dependency, of whatever kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    /// Only tests, benches or examples need it.
    pub(super) dev: bool,
}

/// Reads the direct dependencies of the workspace's packages; a package without any has an edge
/// to nothing, so that its name is checked too.
pub(super) fn edges(metadata: &str) -> Result<Vec<Edge>> {
    let metadata: Value = serde_json::from_str(metadata).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("metadata without packages")?;
    let mut edges = Vec::new();
    for package in packages {
        let from = package["name"].as_str().context("package without a name")?;
        edges.push(Edge { from: from.to_owned(), to: String::new(), dev: false });
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            edges.push(Edge {
                from: from.to_owned(),
                to: dependency["name"].as_str().context("dependency without a name")?.to_owned(),
                dev: dependency["kind"] == "dev",
            });
        }
    }
    Ok(edges)
}

/// Says what breaks the rules.
pub(super) fn check(edges: &[Edge]) -> Vec<String> {
    edges.iter().filter_map(breach).collect()
}

fn breach(edge: &Edge) -> Option<String> {
    let Edge { from, to, dev } = edge;
    let Some((_, allowed)) = OURS.iter().find(|(name, _)| name == from) else {
        return Some(format!(
            "package {from} has no import rule: add it to xtask/src/tidy/graph.rs"
        ));
    };
    if OURS.iter().any(|(name, _)| name == to) {
        // Of itself for its tests: that is how a package turns its features on for them.
        let test_only = *dev && (to == TESTKIT || to == from);
        return (!allowed.contains(&to.as_str()) && !test_only)
            .then(|| format!("{from} must not import {to}"));
    }
    OTHERS
        .iter()
        .find(|(name, homes)| name == to && !homes.contains(&from.as_str()))
        .map(|(_, homes)| format!("{from} must not import {to}; only {} may", homes.join(", ")))
}

/// Our packages, and which of ours each may import.
const OURS: &[(&str, &[&str])] = &[
    (TYPES, &[]),
    (PROTO, &[TYPES]),
    (STORE, &[TYPES]),
    (TRANSPORT, &[TYPES]),
    // Its stores are reached over the same connections, with the same TLS, as anything else.
    (DISCOVERY, &[TYPES, TRANSPORT]),
    (SERVER, &[TYPES, PROTO, STORE, TRANSPORT, DISCOVERY]),
    (CLIENT, &[TYPES, PROTO, TRANSPORT, DISCOVERY]),
    // Whatever tests need, except what they test.
    (TESTKIT, &[TYPES, PROTO]),
    ("nuthatch-examples", &[TYPES, PROTO, STORE, TRANSPORT, DISCOVERY, SERVER, CLIENT]),
    ("xtask", &[]),
];

/// Packages of others that have a home.
const OTHERS: &[(&str, &[&str])] = &[
    ("tokio", &[TRANSPORT, DISCOVERY, SERVER, CLIENT, "nuthatch-examples"]),
    ("rustls", &[TRANSPORT]),
    ("tokio-rustls", &[TRANSPORT]),
    ("rustls-native-certs", &[TRANSPORT]),
    ("sasl", &[TRANSPORT]),
    ("hyper", &[DISCOVERY]),
    ("hickory-resolver", &[DISCOVERY]),
    ("anyhow", &["xtask", "nuthatch-examples"]),
];

const TYPES: &str = "nuthatch-types";
const PROTO: &str = "nuthatch-proto";
const STORE: &str = "nuthatch-store";
const TRANSPORT: &str = "nuthatch-transport";
const DISCOVERY: &str = "nuthatch-discovery";
const SERVER: &str = "nuthatch-server";
const CLIENT: &str = "nuthatch-client";
const TESTKIT: &str = "nuthatch-testkit";

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str, dev: bool) -> Edge {
        Edge { from: from.to_owned(), to: to.to_owned(), dev }
    }

    #[track_caller]
    fn wrong(from: &str, to: &str) {
        for dev in [false, true] {
            assert_eq!(check(&[edge(from, to, dev)]).len(), 1, "{from} -> {to}");
        }
    }

    #[test]
    fn the_edges_of_the_design_pass() {
        for (from, to) in [
            (PROTO, TYPES),
            (STORE, TYPES),
            (TRANSPORT, TYPES),
            (SERVER, STORE),
            (CLIENT, TRANSPORT),
            (CLIENT, DISCOVERY),
            (SERVER, DISCOVERY),
            (DISCOVERY, TRANSPORT),
            (TRANSPORT, "tokio"),
            (PROTO, "nom"),
        ] {
            assert_eq!(check(&[edge(from, to, false)]), [""; 0], "{from} -> {to}");
        }
    }

    #[test]
    fn the_middle_crates_do_not_know_one_another() {
        for from in [PROTO, STORE, TRANSPORT] {
            for to in [PROTO, STORE, TRANSPORT, DISCOVERY, SERVER, CLIENT] {
                if to != from {
                    wrong(from, to);
                }
            }
            assert_eq!(check(&[edge(from, from, true)]), [""; 0], "features for tests");
        }
        assert_eq!(
            check(&[edge(PROTO, STORE, false)]),
            ["nuthatch-proto must not import nuthatch-store"]
        );
    }

    #[test]
    fn the_vocabulary_imports_nobody_and_the_tops_not_each_other() {
        for to in [PROTO, STORE, TRANSPORT, SERVER, CLIENT] {
            wrong(TYPES, to);
        }
        wrong(SERVER, CLIENT);
        wrong(CLIENT, SERVER);
        wrong(CLIENT, STORE);
        wrong(DISCOVERY, PROTO);
        wrong(DISCOVERY, SERVER);
        wrong(DISCOVERY, CLIENT);
        wrong("xtask", TYPES);
    }

    #[test]
    fn the_test_kit_is_for_tests() {
        assert_eq!(check(&[edge(PROTO, TESTKIT, true)]), [""; 0]);
        assert_eq!(check(&[edge(SERVER, TESTKIT, false)]).len(), 1);
    }

    #[test]
    fn runtimes_and_crypto_have_their_homes() {
        wrong(PROTO, "tokio");
        wrong(STORE, "tokio");
        wrong(TYPES, "tokio");
        wrong(SERVER, "rustls");
        wrong(CLIENT, "sasl");
        wrong(SERVER, "anyhow");
    }

    #[test]
    fn a_new_package_needs_a_rule() {
        let breaches = check(&[edge("nuthatch-flash", "", false)]);
        assert_eq!(breaches.len(), 1);
        assert!(breaches[0].starts_with("package nuthatch-flash has no import rule"));
    }

    #[test]
    fn metadata_is_read() {
        let metadata = r#"{"packages": [
            {"name": "nuthatch-types", "dependencies": []},
            {"name": "nuthatch-proto", "dependencies": [
                {"name": "nom", "kind": null}, {"name": "nuthatch-store", "kind": "dev"}]}]}"#;
        let edges = edges(metadata).unwrap();
        assert!(edges.contains(&edge(PROTO, "nom", false)));
        assert!(edges.contains(&edge(PROTO, STORE, true)));
        assert_eq!(check(&edges), ["nuthatch-proto must not import nuthatch-store"]);
        assert!(super::edges("{}").is_err());
    }
}
