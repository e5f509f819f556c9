//! Keys and leases, from etcd.

use std::{process::Command, time::Duration};

use nuthatch_discovery::{
    Etcd as Source, EtcdSettings, Following, Limits, Member, Registration, Source as _,
    SourceError, State, follow, register,
};
use nuthatch_testkit::{Etcd, find_program};
use nuthatch_types::Node;

use crate::{is_fresh, is_stale, run, shown, skip, until, until_listed};

const TTL: Duration = Duration::from_secs(2);

fn settings(etcd: &Etcd) -> EtcdSettings {
    let servers = vec![("127.0.0.1".to_owned(), etcd.port())];
    EtcdSettings::new(servers, "/test").answer_within(Duration::from_secs(1))
}

fn followed(source: Source) -> Following {
    let mut limits = Limits::default();
    limits.pause_max = Duration::from_secs(1);
    follow(Box::new(source), limits)
}

fn member(name: &str) -> Member {
    Member::new(Node::new(name, "10.0.0.1", 11211).unwrap())
}

fn line(name: &str) -> String {
    format!("{name}|10.0.0.1|11211")
}

async fn joined(etcd: &Etcd, name: &str) -> Registration {
    let registration = register(settings(etcd), &member(name), TTL);
    let mut state = registration.state();
    let joined = tokio::time::timeout(Duration::from_secs(20), state.wait_for(Result::is_ok));
    joined.await.unwrap().unwrap();
    registration
}

/// Both have the same list in the same version.
async fn agree(one: &Following, other: &Following, names: &[String]) {
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    for _ in 0..200 {
        let mine = until_listed(one, &names).await;
        let theirs = until_listed(other, &names).await;
        if mine == theirs {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("they do not agree: {:?} {:?}", one.view(), other.view());
}

/// Speaks to etcd by its own program.
fn etcdctl(etcd: &Etcd, args: &[&str]) -> Option<String> {
    let program = find_program("etcdctl")?;
    let output = Command::new(program)
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints=127.0.0.1:{}", etcd.port()))
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// From now on it serves root alone, by the password `secret`.
fn ask_for_logins(etcd: &Etcd) {
    for args in [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["auth", "enable"],
    ] {
        etcdctl(etcd, args).unwrap();
    }
}

/// Has it stand still (`-STOP`), or go on (`-CONT`).
fn signal(etcd: &Etcd, name: &str) {
    let pid = etcd.pid().unwrap().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
}

#[test]
fn members_join_and_leave_and_all_agree() {
    let Some(etcd) = Etcd::start().unwrap() else { return skip("etcd") };
    run(async move {
        let first = followed(Source::new(settings(&etcd)).marking(true));
        let a = joined(&etcd, "a").await;
        let b = joined(&etcd, "b").await;
        let before = until_listed(&first, &[&line("a"), &line("b")]).await;
        let c = joined(&etcd, "c").await;
        until_listed(&first, &[&line("a"), &line("b"), &line("c")]).await;

        // One says that it goes, one is lost.
        let left = tokio::time::Instant::now();
        c.leave(Duration::from_secs(5)).await;
        let after = until_listed(&first, &[&line("a"), &line("b")]).await;
        eprintln!("left after {:?}", left.elapsed());
        assert!(after.version() > before.version());
        let later = followed(Source::new(settings(&etcd)));
        agree(&first, &later, &[line("a"), line("b")]).await;

        let lost = tokio::time::Instant::now();
        drop(b);
        until_listed(&first, &[&line("a")]).await;
        eprintln!("lost after {:?}", lost.elapsed());
        until_listed(&later, &[&line("a")]).await;
        // Who comes later reads the same version, because it was written down.
        let last = followed(Source::new(settings(&etcd)));
        agree(&first, &last, &[line("a")]).await;
        agree(&first, &later, &[line("a")]).await;
        drop(a);
    });
}

#[test]
fn a_store_that_is_away_leaves_the_list_and_members_come_back() {
    let Some(mut etcd) = Etcd::start().unwrap() else { return skip("etcd") };
    run(async move {
        let following = followed(Source::new(settings(&etcd)).marking(true));
        let a = joined(&etcd, "a").await;
        let before = until_listed(&following, &[&line("a")]).await;
        etcd.stop();
        let view = until(&following, "it is stale", is_stale).await;
        assert_eq!(view.members.as_deref(), Some(&*before));
        // Longer than the lease lives: a leader that comes back gives leases their time again.
        tokio::time::sleep(TTL * 2).await;
        let b = register(settings(&etcd), &member("b"), TTL);
        etcd.start_again().unwrap();
        let now = until_listed(&following, &[&line("a"), &line("b")]).await;
        assert!(now.version() > before.version());
        until(&following, "it is fresh", is_fresh).await;
        drop((a, b));
    });
}

#[test]
fn a_store_that_stands_still_is_noticed() {
    let Some(etcd) = Etcd::start().unwrap() else { return skip("etcd") };
    run(async move {
        let following = followed(Source::new(settings(&etcd)).marking(true));
        let a = joined(&etcd, "a").await;
        let before = until_listed(&following, &[&line("a")]).await;
        signal(&etcd, "-STOP");
        let view = until(&following, "it is stale", is_stale).await;
        signal(&etcd, "-CONT");
        assert_eq!(view.members.as_deref(), Some(&*before));
        until(&following, "it is fresh", is_fresh).await;
        until_listed(&following, &[&line("a")]).await;
        drop(a);
    });
}

#[test]
fn a_store_that_was_set_back_goes_on_above() {
    let Some(mut etcd) = Etcd::start().unwrap() else { return skip("etcd") };
    run(async move {
        let following = followed(Source::new(settings(&etcd)).marking(true));
        for _ in 0..5 {
            joined(&etcd, "x").await.leave(Duration::from_secs(5)).await;
        }
        let a = joined(&etcd, "a").await;
        let before = until_listed(&following, &[&line("a")]).await;
        etcd.lose_data().unwrap();
        etcd.start_again().unwrap();
        let b = joined(&etcd, "b").await;
        let now = until_listed(&following, &[&line("a"), &line("b")]).await;
        assert!(now.version() > before.version(), "{} {}", now.version(), before.version());
        let fresh = followed(Source::new(settings(&etcd)));
        agree(&following, &fresh, &[line("a"), line("b")]).await;
        drop((a, b));
    });
}

/// Who hears late of a departure does not write what it knows of the old store into the next one.
#[test]
fn a_late_departure_leaves_another_store_alone() {
    let Some(mut etcd) = Etcd::start().unwrap() else { return skip("etcd") };
    let value = r#"{"host":"a","address":"10.0.0.1","port":11211}"#;
    if etcdctl(&etcd, &["put", "/test/nodes/a", value]).is_none() {
        return skip("etcdctl");
    }
    run(async move {
        let mut late = Source::new(settings(&etcd)).marking(true);
        assert_eq!(shown(&late.next().await.unwrap()), [line("a")]);
        // It watches, and then stands still.
        while let Ok(same) = tokio::time::timeout(Duration::from_secs(1), late.next()).await {
            assert_eq!(shown(&same.unwrap()), [line("a")]);
        }
        etcdctl(&etcd, &["del", "/test/nodes/a"]).unwrap();
        etcd.lose_data().unwrap();
        etcd.start_again().unwrap();
        etcdctl(&etcd, &["put", "/test/version", "13172"]).unwrap();
        assert!(shown(&late.next().await.unwrap()).is_empty(), "the departure is heard of");
        assert_eq!(
            etcdctl(&etcd, &["get", "--print-value-only", "/test/version"]).unwrap().trim(),
            "13172"
        );
    });
}

#[test]
fn what_was_compacted_away_is_read_again() {
    let Some(etcd) = Etcd::start().unwrap() else { return skip("etcd") };
    if find_program("etcdctl").is_none() {
        return skip("etcdctl");
    }
    run(async move {
        let following = followed(Source::new(settings(&etcd)));
        let put = |name: &str, value: &str| {
            etcdctl(&etcd, &["put", &format!("/test/nodes/{name}"), value]).unwrap();
        };
        put("a", r#"{"host":"a","port":1}"#);
        until_listed(&following, &["a||1"]).await;
        // While nobody watches, the history is lost that a watch would go on with.
        signal(&etcd, "-STOP");
        until(&following, "it is stale", is_stale).await;
        signal(&etcd, "-CONT");
        for n in 0..20 {
            put("b", &format!(r#"{{"host":"b","port":{}}}"#, n + 1));
        }
        etcdctl(&etcd, &["del", "/test/nodes/a"]).unwrap();
        put("junk", "no member");
        let said = etcdctl(&etcd, &["get", "x", "-w", "json"]).unwrap();
        let revision: String = said
            .split("\"revision\":")
            .nth(1)
            .unwrap()
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        etcdctl(&etcd, &["compact", &revision]).unwrap();
        let now = until_listed(&following, &["b||20"]).await;
        let fresh = followed(Source::new(settings(&etcd)));
        agree(&following, &fresh, &["b||20".to_owned()]).await;
        assert_eq!(now.version().to_string(), revision);
    });
}

#[test]
fn logins_are_asked_for_and_checked() {
    let Some(etcd) = Etcd::start().unwrap() else { return skip("etcd") };
    if find_program("etcdctl").is_none() {
        return skip("etcdctl");
    }
    ask_for_logins(&etcd);
    run(async move {
        let good = settings(&etcd).login("root", "secret");
        let a = register(good.clone(), &member("a"), TTL);
        let following = followed(Source::new(good));
        until_listed(&following, &[&line("a")]).await;
        for bad in [settings(&etcd), settings(&etcd).login("root", "wrong")] {
            let following = followed(Source::new(bad));
            let view = until(&following, "it is refused", is_stale).await;
            let State::Stale { error, .. } = &view.state else { panic!("{view:?}") };
            assert!(matches!(error, SourceError::Refused(_)), "{error:?}");
            assert!(!format!("{error} {following:?}").contains("wrong"));
        }
        drop(a);
    });
}

#[test]
fn tls_is_spoken_and_verified() {
    let folder = std::env::temp_dir().join(format!("nuthatch-etcd-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(path("cert"), made.cert.pem()).unwrap();
    std::fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
    let (cert, key) = (path("cert"), path("key"));
    let started =
        Etcd::start_with(&[&format!("--cert-file={cert}"), &format!("--key-file={key}")]).unwrap();
    let Some(etcd) = started else { return skip("etcd") };
    run(async move {
        use nuthatch_discovery::{Access, SourceSpec};

        let spec: SourceSpec = format!("etcds://127.0.0.1:{}/test", etcd.port()).parse().unwrap();
        let access = Access::default().ca(&cert);
        let a = spec.register(&access, &member("a"), TTL).unwrap().begin();
        let following = follow(spec.open(&access).unwrap(), Limits::default());
        until_listed(&following, &[&line("a")]).await;
        // Whom nobody vouches for.
        let following = follow(spec.open(&Access::default()).unwrap(), Limits::default());
        until(&following, "it is refused", is_stale).await;
        let plain: SourceSpec = format!("etcd://127.0.0.1:{}/test", etcd.port()).parse().unwrap();
        let following = follow(plain.open(&access).unwrap(), Limits::default());
        until(&following, "it is refused", is_stale).await;
        drop(a);
    });
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn any_server_of_several_will_do() {
    let Some(etcd) = Etcd::start().unwrap() else { return skip("etcd") };
    run(async move {
        // The first is not there.
        let servers = vec![("127.0.0.1".to_owned(), 1), ("127.0.0.1".to_owned(), etcd.port())];
        let both = EtcdSettings::new(servers, "/test");
        let a = register(both.clone(), &member("a"), TTL);
        let following = followed(Source::new(both));
        let list = until_listed(&following, &[&line("a")]).await;
        assert_eq!(shown(&list), [line("a")]);
        drop(a);
    });
}

#[test]
fn a_store_that_forgets_tokens_is_logged_in_to_again() {
    let Some(mut etcd) = Etcd::start().unwrap() else { return skip("etcd") };
    if find_program("etcdctl").is_none() {
        return skip("etcdctl");
    }
    ask_for_logins(&etcd);
    run(async move {
        let good = settings(&etcd).login("root", "secret");
        let a = register(good.clone(), &member("a"), TTL);
        let following = followed(Source::new(good.clone()));
        until_listed(&following, &[&line("a")]).await;
        // Its tokens live in its memory.
        etcd.stop();
        until(&following, "it is stale", is_stale).await;
        etcd.start_again().unwrap();
        let b = register(good, &member("b"), TTL);
        until_listed(&following, &[&line("a"), &line("b")]).await;
        until(&following, "it is fresh", is_fresh).await;
        drop((a, b));
    });
}

#[test]
fn a_store_from_a_backup_goes_on_above() {
    let Some(mut etcd) = Etcd::start().unwrap() else { return skip("etcd") };
    run(async move {
        let following = followed(Source::new(settings(&etcd)).marking(true));
        // It lives in the backup too, and does not notice by its lease.
        let a = register(settings(&etcd), &member("a"), Duration::from_secs(30));
        until_listed(&following, &[&line("a")]).await;
        let copied = |from: &str, to: &str| {
            let [from, to] = [from, to].map(|name| etcd.folder().join(name));
            assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
        };
        signal(&etcd, "-STOP");
        copied("data", "backup");
        signal(&etcd, "-CONT");
        for _ in 0..5 {
            joined(&etcd, "x").await.leave(Duration::from_secs(5)).await;
        }
        let before = until_listed(&following, &[&line("a")]).await;
        let data = etcd.folder().join("data");
        etcd.lose_data().unwrap();
        std::fs::rename(etcd.folder().join("backup"), data).unwrap();
        etcd.start_again().unwrap();
        let c = joined(&etcd, "c").await;
        let now = until_listed(&following, &[&line("a"), &line("c")]).await;
        assert!(now.version() > before.version(), "{} {}", now.version(), before.version());
        let fresh = followed(Source::new(settings(&etcd)));
        agree(&following, &fresh, &[line("a"), line("c")]).await;
        drop((a, c));
    });
}

#[test]
fn a_departure_that_was_compacted_away_has_one_version() {
    let Some(etcd) = Etcd::start().unwrap() else { return skip("etcd") };
    if find_program("etcdctl").is_none() {
        return skip("etcdctl");
    }
    run(async move {
        let put = |key: &str, value: &str| {
            etcdctl(&etcd, &["put", key, value]).unwrap();
        };
        put("/test/nodes/a", r#"{"host":"a","port":1}"#);
        put("/test/nodes/b", r#"{"host":"b","port":1}"#);
        let one = followed(Source::new(settings(&etcd)).marking(true));
        let other = followed(Source::new(settings(&etcd)).marking(true));
        for following in [&one, &other] {
            until_listed(following, &["a||1", "b||1"]).await;
        }
        signal(&etcd, "-STOP");
        for following in [&one, &other] {
            until(following, "it is stale", is_stale).await;
        }
        signal(&etcd, "-CONT");
        etcdctl(&etcd, &["del", "/test/nodes/a"]).unwrap();
        put("elsewhere", "");
        etcdctl(&etcd, &["compact", "4"]).unwrap();
        agree(&one, &other, &["b||1".to_owned()]).await;
        let fresh = followed(Source::new(settings(&etcd)));
        agree(&one, &fresh, &["b||1".to_owned()]).await;
    });
}

#[test]
fn passwords_and_certificates_are_read_again() {
    use nuthatch_discovery::{Access, SourceSpec};

    if find_program("etcdctl").is_none() {
        return skip("etcdctl");
    }
    let folder = std::env::temp_dir().join(format!("nuthatch-etcd-renew-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let made = ["old", "new"].map(|name| {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(path(name), made.cert.pem()).unwrap();
        made
    });
    std::fs::write(path("key"), made[1].signing_key.serialize_pem()).unwrap();
    let (cert, key) = (path("new"), path("key"));
    let started =
        Etcd::start_with(&[&format!("--cert-file={cert}"), &format!("--key-file={key}")]).unwrap();
    let Some(etcd) = started else { return skip("etcd") };
    std::fs::copy(path("old"), path("ca")).unwrap();
    std::fs::write(path("login"), "root:secret\n").unwrap();
    let path = &path;
    run(async move {
        let spec: SourceSpec = format!("etcds://127.0.0.1:{}/test", etcd.port()).parse().unwrap();
        let access = Access::default().ca(path("ca")).login_file(path("login"));
        let a = spec.register(&access, &member("a"), TTL).unwrap().begin();
        let following = follow(spec.open(&access).unwrap(), Limits::default());
        until(&following, "it is not trusted", is_stale).await;
        std::fs::copy(path("new"), path("ca")).unwrap();
        // Logins are off.
        let is_refused = |view: &nuthatch_discovery::View| {
            matches!(&view.state, State::Stale { error: SourceError::Refused(_), .. })
        };
        until(&following, "it is refused", is_refused).await;
        let etcdctl = |args: &[&str]| {
            let output = Command::new(find_program("etcdctl").unwrap())
                .env("ETCDCTL_API", "3")
                .arg(format!("--endpoints=https://127.0.0.1:{}", etcd.port()))
                .arg(format!("--cacert={}", path("new")))
                .args(args)
                .output()
                .unwrap();
            assert!(output.status.success(), "{args:?}: {output:?}");
        };
        etcdctl(&["user", "add", "root:changed"]);
        etcdctl(&["user", "grant-role", "root", "root"]);
        etcdctl(&["auth", "enable"]);
        tokio::time::sleep(TTL).await;
        assert!(following.view().members.is_none());
        std::fs::write(path("login"), "root:changed\n").unwrap();
        until_listed(&following, &[&line("a")]).await;
        // What cannot be read stays.
        std::fs::remove_file(path("login")).unwrap();
        let same = a.state();
        tokio::time::sleep(TTL).await;
        assert_eq!(*same.borrow(), Ok(()));
        drop(a);
    });
    std::fs::remove_dir_all(&folder).unwrap();
}
