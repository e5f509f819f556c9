//! The memcached protocol without I/O: codec and connection state machines for servers and clients.
