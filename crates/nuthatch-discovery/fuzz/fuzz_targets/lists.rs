//! Lists and sources as text: nothing panics, and what is read is what is shown.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nuthatch_discovery::{Access, Member, Members, SourceSpec, Static};
use nuthatch_types::ClusterConfig;

fuzz_target!(|data: &[u8]| {
    if let Ok(config) = ClusterConfig::parse(data) {
        let shown = config.to_string();
        if shown.len() <= ClusterConfig::LEN_MAX {
            assert_eq!(ClusterConfig::parse(shown.as_bytes()).as_ref(), Ok(&config));
        }
        let members = Members::from(&config);
        assert!(members.len() <= config.nodes().len());
        for member in members.members() {
            assert_eq!(members.find(member.identity()), Some(member));
        }
    }
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(member) = Member::parse(text) {
        let shown = member.node().to_string();
        let same = Member::parse(&shown).expect("a member that was shown");
        assert_eq!(same.with_weight(member.weight()), member);
    }
    if let Ok(list) = Static::parse(text) {
        assert!(!list.members().is_empty());
        let payload = list.members().to_config().to_string();
        if payload.len() <= ClusterConfig::LEN_MAX {
            let read = ClusterConfig::parse(payload.as_bytes()).expect("a list that was told");
            assert_eq!(read.nodes().len(), list.members().len());
        }
    }
    if let Ok(spec) = text.parse::<SourceSpec>() {
        let shown = spec.to_string();
        assert_eq!(shown.parse::<SourceSpec>().as_ref(), Ok(&spec), "{shown}");
        assert!(!shown.contains('@') || shown.starts_with("static:"));
        let _ = (spec.is_tls(), spec.is_on_this_machine(), spec.has_registrations());
        if !spec.is_remote() {
            spec.open(&Access::default()).expect("a list that was read can be opened");
        }
    }
});
