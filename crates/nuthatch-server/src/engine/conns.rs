//! `stats conns`: the server's sockets and what they are doing.

use nuthatch_proto::Reply;
use nuthatch_transport::{Local, Peer};

use super::{Engine, ItemPin};

impl Engine {
    /// Who is at the other end of the connection of that number; `None` where it is not known.
    pub(super) fn peer(&self, number: u64) -> Option<Peer> {
        self.shared.telemetry.as_ref()?.conn(number)?.peer().copied()
    }

    /// Lines as memcached's, by number; besides, the tag of those that have one, and who has logged
    /// in.
    pub(super) fn stats_conns(&self, reply: &mut Reply<'_, ItemPin>) {
        let Some(telemetry) = &self.shared.telemetry else { return };
        for conn in telemetry.conns() {
            let number = conn.number();
            let mut stat = |name: &str, value: &dyn std::fmt::Display| {
                reply.stat(format_args!("{number}:{name}"), value);
            };
            if matches!(conn.local(), Local::Udp(_)) {
                stat("UDP", &"UDP");
            }
            match conn.peer() {
                Some(peer) => {
                    stat("addr", peer);
                    stat("listen_addr", conn.local());
                }
                None => stat("addr", conn.local()),
            }
            if let Some(tag) = conn.tag() {
                stat("tag", &tag);
            }
            if let Some(user) = conn.user() {
                stat("user", &user.escape_ascii());
            }
            stat("state", &conn.state().as_str());
            if conn.n_owed() > 0 {
                stat("resps_waiting", &conn.n_owed());
            }
            stat("secs_since_last_cmd", &conn.secs_since_last_cmd(telemetry));
        }
    }
}
