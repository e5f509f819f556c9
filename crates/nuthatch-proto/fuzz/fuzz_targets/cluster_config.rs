//! Whatever a server says are the members of its cluster: nothing panics, and what is taken says
//! the same when it is written down and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_proto::types::{ClusterConfig, Node};

fuzz_target!(|payload: &[u8]| {
    let Ok(config) = ClusterConfig::parse(payload) else {
        return;
    };
    assert!(payload.len() <= ClusterConfig::LEN_MAX);
    for node in config.nodes() {
        let address = node.address().unwrap_or_default();
        assert!(node.port() > 0 && !(node.host().is_empty() && address.is_empty()));
        assert!(node.host().len() <= Node::HOST_LEN_MAX && address.len() <= Node::ADDRESS_LEN_MAX);
        let shown = node.to_string();
        assert!(!shown.chars().any(|c| c.is_whitespace() || c.is_control()));
    }
    let written = config.to_string();
    // It may be longer by the line ends that the last line need not have.
    if written.len() <= ClusterConfig::LEN_MAX {
        assert_eq!(ClusterConfig::parse(written.as_bytes()), Ok(config));
    }
});
