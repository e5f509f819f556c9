//! A name's addresses and services, from dnsmasq.

use std::time::Duration;

use nuthatch_discovery::{Dns as Source, Following, Limits, SourceError, State, follow};
use nuthatch_testkit::Dns;

use crate::{is_fresh, is_stale, run, skip, until, until_listed};

const SERVICE: &str = "_memcached._tcp.cache.test";

fn followed(source: Source, dns: &Dns) -> Following {
    let at = vec![([127, 0, 0, 1], dns.port()).into()];
    let second = Duration::from_millis(200);
    let mut limits = Limits::default();
    limits.pause_max = Duration::from_secs(1);
    follow(Box::new(source.at(at).refresh_between(second, second)), limits)
}

#[test]
fn services_are_members_by_name_with_their_weights() {
    let srv = |host: &str, priority: u8, weight: u8| {
        format!("--srv-host={SERVICE},{host}.cache.test,11211,{priority},{weight}")
    };
    let host = |name: &str, address: &str| format!("--host-record={name}.cache.test,{address}");
    let first = [srv("b", 0, 20), srv("a", 0, 10), host("a", "10.0.0.1"), host("b", "10.0.0.2")];
    let first: Vec<_> = first.iter().map(String::as_str).collect();
    let Some(mut dns) = Dns::start(&first).unwrap() else { return skip("dnsmasq") };
    run(async move {
        let following = followed(Source::services(SERVICE), &dns);
        let a = "a.cache.test|10.0.0.1|11211";
        let before = until_listed(&following, &[a, "b.cache.test|10.0.0.2|11211 weight 2"]).await;

        // One has gone, one has another address, one is for emergencies only, one has no address.
        let then = [
            srv("a", 0, 30),
            srv("c", 5, 30),
            srv("d", 0, 30),
            srv("e", 0, 30),
            host("a", "10.0.0.9"),
            host("d", "10.0.0.4"),
            host("d", "10.0.0.3"),
        ];
        dns.tell(&then.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        let now = until_listed(
            &following,
            &["a.cache.test|10.0.0.9|11211", "d.cache.test|10.0.0.3|11211", "e.cache.test||11211"],
        )
        .await;
        assert!(now.version() > before.version());

        dns.stop();
        let view = until(&following, "it is stale", is_stale).await;
        assert_eq!(view.members, Some(now.clone()));
        dns.tell(&then.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        let view = until(&following, "it is fresh", is_fresh).await;
        assert_eq!(view.members, Some(now));
    });
}

#[test]
fn addresses_of_a_name_are_members() {
    let records =
        ["--host-record=cache.test,10.0.0.2,2001:db8::1", "--host-record=cache.test,10.0.0.1"];
    let Some(mut dns) = Dns::start(&records).unwrap() else { return skip("dnsmasq") };
    run(async move {
        let following = followed(Source::addresses("cache.test", 11300), &dns);
        let both = ["10.0.0.1|10.0.0.1|11300", "10.0.0.2|10.0.0.2|11300"];
        let before = until_listed(&following, &both).await;
        assert_eq!(before.members()[0].tls_name(), Some("cache.test"));
        dns.tell(&["--host-record=cache.test,2001:db8::1"]).unwrap();
        let now = until_listed(&following, &["2001:db8::1|2001:db8::1|11300"]).await;
        assert!(now.version() > before.version());
        // Two who see the same list some time apart differ by no more than that in its version.
        let other = followed(Source::addresses("cache.test", 11300), &dns);
        let theirs = until_listed(&other, &["2001:db8::1|2001:db8::1|11300"]).await;
        assert!(theirs.version().abs_diff(now.version()) < 60);
    });
}

#[test]
fn a_name_without_records_leaves_the_list() {
    let Some(mut dns) = Dns::start(&["--host-record=cache.test,10.0.0.1"]).unwrap() else {
        return skip("dnsmasq");
    };
    run(async move {
        let following = followed(Source::addresses("cache.test", 1), &dns);
        let before = until_listed(&following, &["10.0.0.1|10.0.0.1|1"]).await;
        dns.tell(&["--local=/test/"]).unwrap();
        let is_empty = |view: &nuthatch_discovery::View| {
            matches!(&view.state, State::Stale { error: SourceError::Empty, .. })
        };
        let view = until(&following, "there is nothing", is_empty).await;
        assert_eq!(view.members, Some(before));
    });
}
