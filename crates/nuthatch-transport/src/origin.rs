//! Where clients come from, for those who count by it: handshakes, logins.

use std::net::{IpAddr, Ipv4Addr};

use crate::Peer;

/// Where clients come from, as far as they count together: what one client can be had at, and what
/// it could change its address to without effort.
///
/// ```
/// use nuthatch_transport::Peer;
///
/// let origin = |address: &str| Peer::Tcp(address.parse().unwrap()).origin();
/// assert_eq!(origin("192.0.2.7:1000"), origin("192.0.2.7:1001"));
/// assert_eq!(origin("[2001:db8:0:1::1]:1000"), origin("[2001:db8:0:1::2]:1000"));
/// assert_ne!(origin("[2001:db8:0:1::1]:1000"), origin("[2001:db8:0:2::1]:1000"));
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Origin {
    /// This machine, by a Unix socket.
    Local,
    /// An address, also one in IPv6 dress.
    V4(Ipv4Addr),
    /// The first half of an address: whoever has one address mostly has all that begin so.
    V6(u64),
}

impl Peer {
    /// Where it is, as far as it counts together with others.
    pub const fn origin(&self) -> Origin {
        match self {
            Self::Unix => Origin::Local,
            Self::Tcp(address) => match address.ip().to_canonical() {
                IpAddr::V4(v4) => Origin::V4(v4),
                IpAddr::V6(v6) => Origin::V6((v6.to_bits() >> 64) as u64),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_what_one_client_has() {
        let of = |text: &str| Peer::Tcp(text.parse().unwrap()).origin();
        assert_eq!(of("10.0.0.1:5"), of("10.0.0.1:6"));
        assert_eq!(of("10.0.0.1:5"), of("[::ffff:10.0.0.1]:6"));
        assert_ne!(of("10.0.0.1:5"), of("10.0.0.2:5"));
        assert_eq!(of("[2001:db8:1:2::1]:5"), of("[2001:db8:1:2:3:4:5:6]:5"));
        assert_ne!(of("[2001:db8:1:2::1]:5"), of("[2001:db8:1:3::1]:5"));
        assert_eq!(Peer::Unix.origin(), Origin::Local);
    }
}
