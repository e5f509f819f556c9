//! Tests of the protocol's public interface, without any socket.

mod cuts;
mod frames;
mod model;
mod pair;
mod rig;
mod session;
