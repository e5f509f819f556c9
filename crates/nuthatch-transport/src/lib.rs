#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod addr;
mod bind;
mod follow;
mod inherit;
mod listener;
mod napi;
mod networks;
mod origin;
pub mod passwords;
pub mod sasl;
pub mod sasldb;
mod stream;
pub mod tls;
mod udp;

// The public interface.
pub use addr::{AddrError, ConnectAddr, ListenAddr, ListenProtocol, ListenTls, Local, Place};
pub use bind::{BindError, BindOptions, Bound, bind};
pub use inherit::{InheritError, Inherited, has_inherited, inherited};
pub use listener::{Accepted, Listener};
pub use networks::{NetworkError, Networks};
pub use origin::Origin;
pub use stream::{Peer, Stream};
pub use udp::{BoundUdp, Endpoint, bind_udp};
