//! What is installed beside the program: the default options and the units.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nuthatch_server::options::{self, Options, Parsed};
use nuthatch_testkit::{Daemon, find_program};

use crate::support::{Client, NUTHATCHD, skip};

fn dist() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dist")
}

#[test]
fn the_default_options_are_memcached_s_and_this_machine_alone() {
    let conf = dist().join("nuthatchd.conf");
    let parsed = options::parse(["nuthatchd".as_ref(), "--config".as_ref(), conf.as_os_str()]);
    let Ok(Parsed::Run(options)) = parsed else { panic!("{parsed:?}") };
    let mut expected = Options::default();
    expected.listen = Some("127.0.0.1".to_owned());
    assert_eq!(*options, expected);

    // Every line that is a comment and could be an option is one.
    let text = fs::read_to_string(&conf).unwrap();
    let examples: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# -")).collect();
    assert!(examples.len() > 5, "{text}");
    for example in examples {
        let words = format!("nuthatchd -{example}");
        let parsed = options::parse(words.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert!(matches!(parsed, Ok(Parsed::Run(_))), "{example}: {parsed:?}");
    }
    let args = ["--config", conf.to_str().unwrap()];
    let daemon = Daemon::builder(NUTHATCHD).args(args).start().unwrap();
    assert_eq!(Client::of(&daemon).ask("mn"), "MN");
}

#[test]
fn systemd_reads_the_units() {
    let Some(analyze) = find_program("systemd-analyze") else {
        return skip("no systemd here");
    };
    let folder = tempfile::tempdir().unwrap();
    for name in ["nuthatchd.service", "nuthatchd.socket"] {
        let text = fs::read_to_string(dist().join("systemd").join(name)).unwrap();
        // Where the program is on this machine.
        let text = text.replace("/usr/bin/nuthatchd", NUTHATCHD);
        fs::write(folder.path().join(name), text).unwrap();
    }
    let units = ["nuthatchd.service", "nuthatchd.socket"].map(|name| folder.path().join(name));
    let output = Command::new(analyze).args(["verify", "--man=no"]).args(units).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // It reads the machine's other units, too, and has something to say about some.
    let ours: Vec<_> = said.lines().filter(|line| line.contains("nuthatchd")).collect();
    assert!(ours.is_empty(), "{said}");
}

#[test]
fn the_container_s_command_line_is_one() {
    let text = fs::read_to_string(dist().join("Dockerfile")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("ENTRYPOINT ")).unwrap();
    let words: Vec<_> =
        line.trim_matches(['[', ']']).split(", ").map(|word| word.trim_matches('"')).collect();
    let Ok(Parsed::Run(options)) = options::parse(words) else { panic!("{line}") };
    assert_eq!(options.listen.as_deref(), Some("0.0.0.0"));
}
