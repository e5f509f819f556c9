//! A memcached server to run as nuthatchd or to build one's own from.
