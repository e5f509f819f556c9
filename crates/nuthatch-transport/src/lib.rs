//! Listeners and connectors for memcached: TCP and Unix sockets.
