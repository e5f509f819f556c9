//! The conversations that memcached 1.6.45 has had: ours must go the same. And those that it cannot
//! have, in `tests/transcripts`.

use std::path::Path;

use nuthatch_testkit::{Daemon, Player, Split, Transcript};

use crate::support::NUTHATCHD;

#[track_caller]
fn play_all(unix: bool, splits: &[Split]) {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let own = Transcript::read_folder(&own).unwrap();
    for transcript in Transcript::shared().unwrap().into_iter().chain(own) {
        for split in splits {
            let args = transcript.header("args").unwrap_or_default().split_whitespace();
            let mut builder = Daemon::builder(NUTHATCHD).args(["-t", "1"]).args(args);
            if unix {
                builder = builder.unix();
            }
            let daemon = builder.start().unwrap();
            let mut connection = daemon.connect().unwrap();
            Player::new(&transcript).split(*split).play(&mut connection).unwrap();
        }
    }
}

#[test]
fn over_tcp() {
    play_all(false, &[Split::Whole, Split::EveryByte]);
}

#[test]
fn over_a_unix_socket() {
    play_all(true, &[Split::Whole, Split::EveryByte, Split::Random(5)]);
}
