//! What a server calls itself in a list that members keep.

use nuthatch_discovery::Member;
use nuthatch_transport::Local;
use nuthatch_types::{Node, NodeError};

/// The member that a server is which listens in these places: the first TCP listener's address and
/// port, under the machine's name. One that listens on every address has only the name; one that
/// only this machine reaches has only the address. `None` without a TCP listener.
///
/// # Errors
///
/// [`NodeError`] where the machine has a name that no list can carry.
pub fn advertised(places: &[Local], machine: &str) -> Result<Option<Member>, NodeError> {
    let listener = places.iter().find_map(|place| match place {
        Local::Tcp(address) => Some(*address),
        _ => None,
    });
    let Some(listener) = listener else { return Ok(None) };
    let ip = listener.ip().to_canonical();
    let address = if ip.is_unspecified() { String::new() } else { ip.to_string() };
    let host = if ip.is_loopback() { &address } else { machine };
    Node::new(host, &address, listener.port()).map(|node| Some(Member::new(node)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(places: &[&str], expected: Option<&str>) {
        let place = |text: &&str| match text.parse() {
            Ok(address) => Local::Tcp(address),
            Err(_) => Local::Unix(text.into()),
        };
        let places: Vec<_> = places.iter().map(place).collect();
        let member = advertised(&places, "host").unwrap();
        assert_eq!(member.map(|member| member.to_string()).as_deref(), expected);
    }

    #[test]
    fn servers_call_themselves_what_reaches_them() {
        check(&["127.0.0.1:11211"], Some("127.0.0.1|127.0.0.1|11211"));
        check(&["[::1]:5"], Some("::1|::1|5"));
        check(&["/a/path", "10.0.0.7:11211", "10.0.0.8:1"], Some("host|10.0.0.7|11211"));
        check(&["0.0.0.0:11211"], Some("host||11211"));
        check(&["[::]:11211"], Some("host||11211"));
        check(&["/a/path"], None);
        assert!(advertised(&[Local::Tcp("0.0.0.0:1".parse().unwrap())], "a b").is_err());
    }
}
