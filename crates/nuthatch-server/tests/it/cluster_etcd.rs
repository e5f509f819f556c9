//! Nodes that find one another in etcd and in DNS, real ones.

use nix::sys::signal::Signal;
use nuthatch_testkit::{Daemon, Dns, Etcd};

use crate::support::{Client, eventually, run, signal, skip, start};

/// A node of the cluster in this etcd.
fn node(etcd: &Etcd) -> Daemon {
    node_with(etcd, "discovery_ttl=2")
}

fn node_with(etcd: &Etcd, words: &str) -> Daemon {
    let source = format!("discovery_source=etcd://127.0.0.1:{}/test,{words}", etcd.port());
    start(["-v", "-o", &source])
}

/// Version and nodes, as a client is told.
fn told(daemon: &Daemon) -> Option<(u64, Vec<String>)> {
    let mut client = Client::of(daemon);
    let head = client.ask("config get cluster");
    if head == "END" {
        return None;
    }
    let version = client.line().parse().unwrap();
    let nodes = client.line().split(' ').map(str::to_owned).collect();
    Some((version, nodes))
}

fn names(daemons: &[&Daemon]) -> Vec<String> {
    let mut ports: Vec<_> = daemons.iter().map(|daemon| daemon.port().unwrap()).collect();
    ports.sort_unstable();
    ports.iter().map(|port| format!("127.0.0.1|127.0.0.1|{port}")).collect()
}

/// All of them tell that the cluster is these, in one version.
#[track_caller]
fn agree(on: &[&Daemon], who: &[&Daemon]) -> u64 {
    let names = names(on);
    let all = || who.iter().map(|daemon| told(daemon)).collect::<Vec<_>>();
    eventually(&format!("all tell {names:?} and one version"), || {
        let all = all();
        let is_one = all.iter().all(|told| *told == all[0]);
        is_one && all[0].as_ref().is_some_and(|(_, nodes)| *nodes == names)
    });
    all()[0].as_ref().unwrap().0
}

#[test]
fn nodes_join_leave_and_die_and_all_tell_the_same() {
    let Some(etcd) = Etcd::start().unwrap() else { return skip("there is no etcd") };
    let (a, b) = (node(&etcd), node(&etcd));
    let two = agree(&[&a, &b], &[&a, &b]);
    let mut c = node(&etcd);
    let three = agree(&[&a, &b, &c], &[&a, &b, &c]);
    assert!(three > two);
    assert_eq!(Client::of(&a).stat("stats cluster", "joined"), "yes");
    assert_eq!(Client::of(&a).stat("stats cluster", "state"), "fresh");

    // One ends: nobody waits for its lease, which lives for an hour.
    let mut d = node_with(&etcd, "discovery_ttl=3600");
    agree(&[&a, &b, &c, &d], &[&a, &b, &c, &d]);
    signal(d.pid(), Signal::SIGTERM);
    assert!(d.wait().unwrap().unwrap().success());
    let left = agree(&[&a, &b, &c], &[&a, &b, &c]);
    assert!(left > three);
    let mut e = node_with(&etcd, "discovery_ttl=3600");
    agree(&[&a, &b, &c, &e], &[&a]);
    signal(e.pid(), Signal::SIGUSR1);
    assert!(e.wait().unwrap().unwrap().success());
    agree(&[&a, &b, &c], &[&a]);

    // One dies.
    signal(c.pid(), Signal::SIGKILL);
    c.wait().unwrap();
    let died = agree(&[&a, &b], &[&a, &b]);
    assert!(died > left);
    assert!(a.stderr().contains(&format!("{} has left", names(&[&c])[0])), "{}", a.stderr());
}

#[test]
fn a_store_that_is_away_takes_nobodys_list() {
    let Some(mut etcd) = Etcd::start().unwrap() else { return skip("there is no etcd") };
    let (a, b) = (node(&etcd), node(&etcd));
    let before = agree(&[&a, &b], &[&a, &b]);
    etcd.stop();
    let mut client = Client::of(&a);
    eventually("it is stale", || client.stat("stats cluster", "state") == "stale");
    assert_eq!(agree(&[&a, &b], &[&a, &b]), before);
    assert_eq!(client.set("still", b"served"), "STORED");
    eventually("it says so", || a.stderr().contains("the list of members stays as it was"));
    // A node that starts now serves too, and has no list yet.
    let c = node(&etcd);
    assert_eq!(told(&c), None);
    assert!(Client::of(&c).stat("stats cluster", "joined").starts_with("no: cannot be reached"));
    etcd.start_again().unwrap();
    let after = agree(&[&a, &b, &c], &[&a, &b, &c]);
    assert!(after > before);
    eventually("it is fresh", || client.stat("stats cluster", "state") == "fresh");
}

#[test]
fn a_node_is_called_what_it_is_told_to() {
    let Some(etcd) = Etcd::start().unwrap() else { return skip("there is no etcd") };
    let a = node_with(&etcd, "discovery_advertise=cache-1.example|10.0.0.1|11211|3");
    let named = vec!["cache-1.example|10.0.0.1|11211".to_owned()];
    eventually("it is there", || told(&a).is_some_and(|(_, nodes)| nodes == named));
    assert_eq!(Client::of(&a).stat("stats cluster", "0:weight"), "3");
    let refused = Client::of(&a).ask("config delete cluster");
    assert_eq!(refused, "CLIENT_ERROR the list comes from its source");
}

#[test]
fn services_in_dns_are_the_list() {
    let record = |host: &str, address: &str| {
        [
            format!("--srv-host=_memcached._tcp.test,{host}.test,11211,0,10"),
            format!("--host-record={host}.test,{address}"),
        ]
    };
    let two = [record("a", "10.0.0.1"), record("b", "10.0.0.2")].concat();
    let two: Vec<_> = two.iter().map(String::as_str).collect();
    let Some(mut dns) = Dns::start(&two).unwrap() else { return skip("there is no dnsmasq") };
    let words = format!(
        "discovery_source=dnssrv+_memcached._tcp.test,discovery_dns=127.0.0.1:{}",
        dns.port()
    );
    let daemon = start(["-o", &words]);
    let list = |nodes: &[&str]| Some(nodes.iter().map(|node| (*node).to_owned()).collect());
    let nodes = || told(&daemon).map(|(_, nodes)| nodes);
    let expected = list(&["a.test|10.0.0.1|11211", "b.test|10.0.0.2|11211"]);
    eventually("both are there", || nodes() == expected);
    let before = told(&daemon).unwrap().0;
    dns.tell(&two[..2]).unwrap();
    eventually("one is there", || nodes() == list(&["a.test|10.0.0.1|11211"]));
    assert!(told(&daemon).unwrap().0 > before);
    assert!(Client::of(&daemon).stat("stats cluster", "source").contains("_memcached._tcp.test"));
}

#[test]
fn where_nodes_speak_tls_they_speak_it_to_etcd() {
    for (source, is_refused) in [
        ("etcd://10.0.0.1+localhost", true),
        ("etcd://etcd.example", true),
        ("etcd://127.0.0.1+[::1]:5+localhost", false),
        ("etcds://10.0.0.1", false),
    ] {
        let output = run(&["-Z", "-o", &format!("ssl_chain_cert=/no,discovery_source={source}")]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert_eq!(text.contains("is in clear: use etcds://"), is_refused, "{source}: {text}");
    }
}

#[test]
fn words_without_effect_are_refused() {
    for (words, message) in [
        ("discovery,discovery_ttl=5", "discovery_ttl needs -o discovery_source=etcd://"),
        ("discovery_source=static:a,discovery_advertise=a||1", "discovery_advertise needs"),
        (
            "discovery_source=etcd://a,discovery_ca=x",
            "discovery_ca needs -o discovery_source=etcds",
        ),
        ("discovery_source=etcds://a,discovery_key=x", "discovery_key needs"),
        ("discovery_source=etcd://a,discovery_dns=127.0.0.1:53", "discovery_dns needs"),
        ("discovery_source=etcd://a,discovery_dns=x", "no ADDRESS:PORT"),
        ("discovery_source=etcd://a,discovery_ttl=1", "between 2 and 3600"),
        ("discovery_source=etcd://a,discovery_advertise=a", "discovery_advertise: "),
        ("discovery_source=etcd://a,discovery_login=/no/such", "/no/such: "),
        ("discovery_source=etcds://a,discovery_ca=/no/such", "/no/such"),
        ("discovery_source=dns+a,drop_privileges", "drop_privileges gives up making connections"),
    ] {
        let output = run(&["-l", "127.0.0.1", "-p", "-1", "-o", words]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(message), "{words}: {text}");
    }
}
