//! A name's addresses and services, from dnsmasq.

use std::{collections::BTreeMap, net::UdpSocket, time::Duration};

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

#[test]
fn a_target_that_nobody_answers_for_does_not_harm_the_others() {
    // The server forwards what it does not know to one that answers nothing at all.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let upstream = format!("--server=/away.test/127.0.0.1#{}", silent.local_addr().unwrap().port());
    let srv = |host: &str| format!("--srv-host={SERVICE},{host},11211,0,0");
    let [a, b] = ["--host-record=a.cache.test,10.0.0.1", "--host-record=b.away.test,10.0.0.2"];
    let services = [srv("a.cache.test"), srv("B.away.test")];
    let records = |more: &[&'static str]| -> Vec<String> {
        services.iter().cloned().chain(more.iter().map(|record| (*record).to_owned())).collect()
    };
    let first = records(&[a, b]);
    let first: Vec<_> = first.iter().map(String::as_str).collect();
    let Some(mut dns) = Dns::start(&first).unwrap() else { return skip("dnsmasq") };
    run(async move {
        let following = followed(Source::services(SERVICE), &dns);
        let both = ["a.cache.test|10.0.0.1|11211", "b.away.test|10.0.0.2|11211"];
        until_listed(&following, &both).await;
        let then = records(&["--host-record=a.cache.test,10.0.0.9", "SERVER"]);
        let then: Vec<_> = then
            .iter()
            .map(|record| if record == "SERVER" { &*upstream } else { record.as_str() })
            .collect();
        dns.tell(&then).unwrap();
        // It is where it was.
        let now = ["a.cache.test|10.0.0.9|11211", "b.away.test|10.0.0.2|11211"];
        let before = until_listed(&following, &now).await;
        // Who begins now knows its name.
        let other = followed(Source::services(SERVICE), &dns);
        until_listed(&other, &["a.cache.test|10.0.0.9|11211", "b.away.test||11211"]).await;
        assert_eq!(following.view().members, Some(before));
    });
    drop(silent);
}

#[test]
fn long_answers_come_whole_and_in_one_order() {
    let records: Vec<String> = (0..300)
        .map(|n| format!("--host-record=cache.test,10.0.{}.{}", n / 250, n % 250))
        .collect();
    let records: Vec<_> = records.iter().map(String::as_str).collect();
    let Some(dns) = Dns::start(&records).unwrap() else { return skip("dnsmasq") };
    run(async move {
        let following = followed(Source::addresses("cache.test", 1), &dns);
        let mut views = following.watch();
        let listed = views.wait_for(|view| view.members.is_some());
        let view =
            tokio::time::timeout(Duration::from_secs(20), listed).await.unwrap().unwrap().clone();
        assert_eq!(view.members.as_ref().unwrap().len(), 300);
        // dnsmasq turns its answers; the list stays one, in one version.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(following.view().members, view.members);
    });
}

/// Answers every question with a status alone, or not at all.
fn status_server(status: Option<u8>) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((n, from)) = socket.recv_from(&mut buffer) {
            let Some(status) = status else { continue };
            buffer[2] |= 0x80;
            buffer[3] = 0x80 | status;
            let _ = socket.send_to(&buffer[..n], from);
        }
    });
    port
}

#[test]
fn what_a_server_says_instead_is_told_apart() {
    run(async {
        let mut seen = BTreeMap::new();
        for (status, what) in [(Some(2), "SERVFAIL"), (Some(3), "NXDOMAIN"), (Some(5), "REFUSED")] {
            let at = vec![([127, 0, 0, 1], status_server(status)).into()];
            let source = Source::services(SERVICE).at(at);
            let following = follow(Box::new(source), Limits::default());
            let view = until(&following, what, is_stale).await;
            let State::Stale { error, .. } = view.state else { unreachable!() };
            seen.insert(what, error);
        }
        assert_eq!(seen["NXDOMAIN"], SourceError::Empty);
        for what in ["SERVFAIL", "REFUSED"] {
            assert!(matches!(seen[what], SourceError::Unreachable(_)), "{what}: {seen:?}");
        }
    });
}
