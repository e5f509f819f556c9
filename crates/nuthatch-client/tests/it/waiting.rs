//! The client without async.

use nuthatch_client::blocking::Client;
use nuthatch_client::types::{Deleted, Stored, Ttl};
use nuthatch_testkit::Daemon;

use crate::cluster::list;
use crate::dialects::servers;

#[test]
fn threads_share_a_client_that_waits() {
    for server in servers() {
        let daemons: Vec<_> = (0..2).map(|_| Daemon::builder(&server).start().unwrap()).collect();
        let url = format!("memcached://{}/?timeout=20s&connect_timeout=20s", list(&daemons));
        let client = Client::connect(&url).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let client = client.clone();
                scope.spawn(move || {
                    for n in 0..100 {
                        let key = format!("{thread}:{n}");
                        let stored = client.set(&key, key.clone(), Ttl::NEVER).unwrap();
                        assert_eq!(stored, Stored::Stored);
                        assert_eq!(client.get(&key).unwrap().unwrap().value, key);
                    }
                });
            }
        });
        assert_eq!(client.incr_from("n", 1, 5, Ttl::NEVER).unwrap(), 5);
        assert_eq!(client.delete("n").unwrap(), Deleted::Deleted);
        assert_eq!(client.get_many(["0:0", "n"]).unwrap().iter().flatten().count(), 1);
        assert_eq!(client.get_each(["7:99"]).len(), 1);
        let touched = client.gat_each(["0:0", "n", "a b"], Ttl::secs(60));
        assert_eq!(touched[0].as_ref().unwrap().as_ref().unwrap().value, "0:0");
        assert!(touched[1].as_ref().unwrap().is_none());
        assert!(touched[2].as_ref().unwrap_err().is_key());
        client.verbosity(0).unwrap();
        assert!(client.is_connected());
        assert!(!client.route("0:0").is_empty());
        let versions = client.wait(async |client| {
            let mut versions = Vec::new();
            for node in client.nodes() {
                versions.push(node.version().await.unwrap());
            }
            versions
        });
        assert_eq!(versions.len(), 2);
        assert_eq!(client.status().nodes.len(), 2);
    }
}

#[test]
fn there_may_be_no_connection() {
    assert!(Client::connect("/no/such/socket").unwrap_err().is_connect());
}

/// Connections end with the last handle, and so does the thread.
#[test]
fn the_last_handle_closes_the_connections() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = Client::connect(&format!("memcached://{address}/?protocol=text")).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    drop(client);
    assert_eq!(std::io::Read::read(&mut stream, &mut [0]).unwrap(), 0);
}
