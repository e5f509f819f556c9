//! `cargo xtask dist`: what is installed, laid out as it is installed, and packages made of it.
//!
//! ```text
//! target/dist/nuthatchd-VERSION-TARGET/   the tree
//!     etc/nuthatchd.conf
//!     usr/bin/{nuthatchd, memcached -> nuthatchd}
//!     usr/lib/{systemd/system, sysusers.d, tmpfiles.d}/…
//!     usr/share/{man/man1, doc/nuthatchd}/…
//! target/dist/nuthatchd-VERSION-TARGET.tar.gz
//! target/dist/nuthatchd_VERSION_ARCH.deb  with --deb
//! ```
//!
//! What is put there as it is stands in `crates/nuthatch-server/dist`.

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run;

/// What was asked for.
struct Request {
    /// A target triple; the host's own without.
    target: Option<String>,
    profile: String,
    deb: bool,
}

pub(crate) fn run(args: &[String]) -> Result<()> {
    let request = parse(args)?;
    let server = run::root().join("crates/nuthatch-server");
    let (version, licences) = metadata()?;
    let binary = build(&request)?;

    let target = request.target.clone().map_or_else(host, Ok)?;
    let dist = run::target().join("dist");
    let tree = dist.join(format!("nuthatchd-{version}-{target}"));
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    lay_out(&tree, &server, &binary, &licences)?;
    let tar = dist.join(format!("nuthatchd-{version}-{target}.tar.gz"));
    let mut command = Command::new("tar");
    command.args(["--owner=0", "--group=0", "--numeric-owner", "--sort=name", "-czf"]);
    run::done(command.arg(&tar).arg("-C").arg(&tree).args(["etc", "usr"]))?;
    println!("{}\n{}", tree.display(), tar.display());
    if request.deb {
        println!("{}", package(&dist, &tree, &server, &version, &target)?.display());
    }
    Ok(())
}

fn parse(args: &[String]) -> Result<Request> {
    let mut request = Request { target: None, profile: "release".to_owned(), deb: false };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().cloned().with_context(|| format!("{arg} wants a value"));
        match arg.as_str() {
            "--target" => request.target = Some(value()?),
            "--profile" => request.profile = value()?,
            "--deb" => request.deb = true,
            _ => bail!("dist takes --target TRIPLE, --profile NAME and --deb, not {arg:?}"),
        }
    }
    Ok(request)
}

/// Builds the program, and says where it is.
fn build(request: &Request) -> Result<PathBuf> {
    let mut command = run::cargo();
    command.args(["build", "--locked", "-p", "nuthatch-server", "--bin", "nuthatchd"]);
    command.args(["--profile", &request.profile]);
    let mut folder = run::target();
    if let Some(target) = &request.target {
        command.args(["--target", target]);
        folder.push(target);
    }
    run::done(&mut command)?;
    // The name of the development profile is not that of its folder.
    folder.push(if request.profile == "dev" { "debug" } else { &request.profile });
    Ok(folder.join("nuthatchd"))
}

fn host() -> Result<String> {
    let text = run::output(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

/// Lays the tree out.
fn lay_out(tree: &Path, server: &Path, binary: &Path, licences: &str) -> Result<()> {
    let (from, docs) = (server.join("dist"), server.join("docs"));
    let put = |to: &str, content: &[u8], mode: u32| put(&tree.join(to), content, mode);
    let copy = |from: &Path, to: &str| {
        let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        put(to, &content, 0o644)
    };
    put("usr/bin/nuthatchd", &fs::read(binary)?, 0o755)?;
    // Where the machine's own cannot read it, the program keeps its symbols.
    let strip = Command::new("strip").arg(tree.join("usr/bin/nuthatchd")).status();
    if !strip.is_ok_and(|status| status.success()) {
        eprintln!("xtask: the program is not stripped");
    }
    symlink("nuthatchd", tree.join("usr/bin/memcached"))?;
    copy(&from.join("nuthatchd.conf"), "etc/nuthatchd.conf")?;

    let units = "usr/lib/systemd/system";
    let unit = fs::read_to_string(from.join("systemd/nuthatchd.service"))?;
    put(&format!("{units}/nuthatchd.service"), unit.as_bytes(), 0o644)?;
    put(&format!("{units}/nuthatchd@.service"), instance(&unit).as_bytes(), 0o644)?;
    symlink("nuthatchd.service", tree.join(units).join("memcached.service"))?;
    copy(&from.join("systemd/nuthatchd.socket"), &format!("{units}/nuthatchd.socket"))?;
    copy(&from.join("systemd/sysusers.conf"), "usr/lib/sysusers.d/nuthatchd.conf")?;
    copy(&from.join("systemd/tmpfiles.conf"), "usr/lib/tmpfiles.d/nuthatchd.conf")?;

    let man = tree.join("usr/share/man/man1");
    for page in ["nuthatchd.1", "memcached.1"] {
        copy(&docs.join(page), &format!("usr/share/man/man1/{page}"))?;
        // Without name and time in it, so that the same page gives the same bytes.
        run::done(Command::new("gzip").args(["-9n"]).arg(man.join(page)))?;
    }
    let doc = "usr/share/doc/nuthatchd";
    for page in ["auto-discovery.md", "compatibility.md", "options.md"] {
        copy(&docs.join(page), &format!("{doc}/{page}"))?;
    }
    copy(&run::root().join("README.md"), &format!("{doc}/README.md"))?;
    copy(&server.join("CHANGELOG.md"), &format!("{doc}/CHANGELOG.md"))?;
    let licence = fs::read_to_string(run::root().join("LICENSE"))?;
    put(&format!("{doc}/copyright"), format!("{licence}\n\n{licences}").as_bytes(), 0o644)
}

/// Writes a file with its folders.
fn put(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// The unit of which there may be several, from the one of which there is one: each instance has
/// options, a runtime folder and an environment of its own.
fn instance(unit: &str) -> String {
    let pairs = [
        ("a memcached server", "a memcached server (%i)"),
        ("/etc/nuthatchd.conf", "/etc/nuthatchd/%i.conf"),
        ("/etc/default/nuthatchd", "/etc/default/nuthatchd-%i"),
        ("RuntimeDirectory=nuthatchd", "RuntimeDirectory=nuthatchd-%i"),
        ("systemctl edit nuthatchd", "systemctl edit nuthatchd@NAME"),
    ];
    pairs.iter().fold(unit.to_owned(), |unit, (one, several)| unit.replace(one, several))
}

/// The server's version, and the licences of everything that goes into it.
fn metadata() -> Result<(String, String)> {
    let text = run::output(run::cargo().args(["metadata", "--format-version=1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("metadata without packages")?;
    let by_id = |id: &Value| packages.iter().find(|package| package["id"] == *id);
    let server = packages.iter().find(|package| package["name"] == "nuthatch-server");
    let server = server.context("no nuthatch-server")?;
    let nodes = metadata["resolve"]["nodes"].as_array().context("metadata without graph")?;

    let mut to_do = vec![&server["id"]];
    let mut seen = BTreeSet::new();
    let mut text = String::new();
    while let Some(id) = to_do.pop() {
        if !seen.insert(id.as_str().unwrap_or_default()) {
            continue;
        }
        let node = nodes.iter().find(|node| node["id"] == *id).context("graph has a gap")?;
        for edge in node["deps"].as_array().into_iter().flatten() {
            let kinds = edge["dep_kinds"].as_array();
            if kinds.into_iter().flatten().any(|kind| kind["kind"].is_null()) {
                to_do.push(&edge["pkg"]);
            }
        }
        let package = by_id(id).context("graph names a package that is not there")?;
        // Ours have the licence that stands above.
        if !package["source"].is_null() {
            text.push_str(&licence(package)?);
        }
    }
    let version = server["version"].as_str().context("no version")?;
    Ok((version.to_owned(), text))
}

/// One package's licence: its name, and the files that say it.
fn licence(package: &Value) -> Result<String> {
    let [name, version, licence, manifest] =
        ["name", "version", "license", "manifest_path"].map(|key| package[key].as_str());
    let (name, version) = (name.context("no name")?, version.context("no version")?);
    let mut text = format!("\n{name} {version}: {}\n", licence.unwrap_or("see below"));
    let folder = manifest.and_then(|path| Path::new(path).parent()).context("no manifest")?;
    let mut files: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    let is_licence = |file: &fs::DirEntry| {
        let name = file.file_name().to_string_lossy().to_uppercase();
        let starts = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT"];
        starts.iter().any(|start| name.starts_with(start)) && file.path().is_file()
    };
    files.retain(is_licence);
    let texts: Vec<_> =
        files.iter().map(|file| fs::read_to_string(file.path())).collect::<Result<_, _>>()?;
    // Where there is a choice, the shorter licence is taken.
    let is_choice = licence.is_some_and(|licence| licence.contains(" OR ")) && texts.len() > 1;
    for licence in texts.iter().filter(|text| !(is_choice && text.contains("Apache License"))) {
        text.push_str(&format!("\n{licence}\n"));
    }
    Ok(text)
}

/// Makes a Debian package of the tree.
fn package(
    dist: &Path,
    tree: &Path,
    server: &Path,
    version: &str,
    target: &str,
) -> Result<PathBuf> {
    let architecture = match target.split('-').next() {
        Some("x86_64") => "amd64",
        Some("aarch64") => "arm64",
        _ => bail!("no Debian architecture is known for {target}"),
    };
    let from = server.join("dist/debian");
    let staged = dist.join("deb");
    if staged.exists() {
        fs::remove_dir_all(&staged)?;
    }
    run::done(Command::new("cp").arg("-a").arg(tree).arg(&staged))?;
    let readme = fs::read(from.join("README.Debian"))?;
    put(&staged.join("usr/share/doc/nuthatchd/README.Debian"), &readme, 0o644)?;

    let maintainer = maintainer();
    // In the form that Debian's tools read; what changed is said elsewhere.
    let date = run::output(Command::new("git").args(["log", "-1", "--format=%aD"]))?;
    let changelog = format!(
        "nuthatchd ({version}) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n \
         -- {maintainer}  {date}"
    );
    put(&staged.join("usr/share/doc/nuthatchd/changelog"), changelog.as_bytes(), 0o644)?;
    let changelog = staged.join("usr/share/doc/nuthatchd/changelog");
    run::done(Command::new("gzip").arg("-9n").arg(changelog))?;

    let control = fs::read_to_string(from.join("control"))?;
    let values = [
        ("@VERSION@", version.to_owned()),
        ("@MAINTAINER@", maintainer),
        ("@ARCHITECTURE@", architecture.to_owned()),
        ("@DEPENDS@", depends(dist, &staged, target)?),
        ("@MEMCACHED_VERSION@", memcached_version(&staged)?),
        ("@INSTALLED_SIZE@", installed_kib(&staged)?),
    ];
    let control =
        values.iter().fold(control, |control, (name, value)| control.replace(name, value));
    put(&staged.join("DEBIAN/control"), control.as_bytes(), 0o644)?;
    for (name, mode) in
        [("conffiles", 0o644), ("postinst", 0o755), ("prerm", 0o755), ("postrm", 0o755)]
    {
        put(&staged.join("DEBIAN").join(name), &fs::read(from.join(name))?, mode)?;
    }
    let mut command = Command::new("dpkg-deb");
    command.args(["--root-owner-group", "-Zxz", "--build"]).arg(&staged);
    let package = dist.join(format!("nuthatchd_{version}_{architecture}.deb"));
    run::done(command.arg(&package))?;
    Ok(package)
}

/// Who makes the package, by the variables that Debian's tools look at.
fn maintainer() -> String {
    let name = env::var("DEBFULLNAME").unwrap_or_else(|_| "nuthatch".to_owned());
    let address = env::var("DEBEMAIL").unwrap_or_else(|_| "nuthatch@localhost".to_owned());
    format!("{name} <{address}>")
}

/// What the package needs: a C library that is new enough, unless the program has its own.
fn depends(dist: &Path, staged: &Path, target: &str) -> Result<String> {
    let scripts = "adduser, init-system-helpers (>= 1.54~)";
    if target.ends_with("musl") {
        return Ok(scripts.to_owned());
    }
    // dpkg-shlibdeps wants to stand in a source package.
    let source = dist.join("shlibdeps");
    put(
        &source.join("debian/control"),
        b"Source: nuthatchd\n\nPackage: nuthatchd\nArchitecture: any\n",
        0o644,
    )?;
    let mut command = Command::new("dpkg-shlibdeps");
    let text =
        run::output(command.arg("-O").arg(staged.join("usr/bin/nuthatchd")).current_dir(&source))?;
    let libraries = text.trim().strip_prefix("shlibs:Depends=");
    let libraries = libraries.context("dpkg-shlibdeps named no libraries")?;
    Ok(format!("{libraries}, {scripts}"))
}

/// The version of memcached that the program speaks for; it can be run where it was built for.
fn memcached_version(staged: &Path) -> Result<String> {
    let text = run::output(Command::new(staged.join("usr/bin/nuthatchd")).arg("-V"))?;
    let version = text.lines().next().and_then(|line| line.strip_prefix("memcached "));
    version.map(str::to_owned).context("nuthatchd -V names no version")
}

fn installed_kib(staged: &Path) -> Result<String> {
    let text = run::output(Command::new("du").args(["-k", "-s", "--apparent-size"]).arg(staged))?;
    text.split_whitespace().next().map(str::to_owned).context("du printed nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_share_nothing() {
        let path = run::root().join("crates/nuthatch-server/dist/systemd/nuthatchd.service");
        let unit = fs::read_to_string(path).unwrap();
        let several = instance(&unit);
        for own in [
            "--config /etc/nuthatchd/%i.conf",
            "RuntimeDirectory=nuthatchd-%i",
            "EnvironmentFile=-/etc/default/nuthatchd-%i",
        ] {
            assert!(several.contains(own), "{own}");
        }
        assert!(!several.contains("nuthatchd.conf"), "{several}");
        assert_eq!(several.lines().count(), unit.lines().count());
    }

    #[test]
    fn arguments() {
        let parse = |line: &str| {
            let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            parse(&words)
        };
        let request = parse("--deb --target a-b-c").unwrap();
        assert_eq!((request.deb, request.target.as_deref()), (true, Some("a-b-c")));
        assert_eq!(request.profile, "release");
        assert!(parse("--target").is_err() && parse("--rpm").is_err());
    }
}
