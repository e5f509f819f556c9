//! An async memcached client.
