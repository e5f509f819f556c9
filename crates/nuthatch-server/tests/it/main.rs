//! `nuthatchd` as users start it: real processes, real sockets.

mod admin;
mod auth;
mod clients;
mod clients_tls;
mod connections;
mod debian;
mod differences;
mod dist;
mod guests;
mod late;
mod manual;
mod options;
mod oracle;
mod passwd;
mod privileges;
mod robustness;
mod startup;
mod statistics;
mod support;
mod systemd;
mod tls;
mod transcripts;
mod udp;
mod watch;
