//! What files look like.

/// Checks where a file stands; `path` is relative to the workspace, with `/`.
pub(super) fn check_name(path: &str) -> Option<String> {
    let top = path.split('/').next().unwrap_or(path);
    (!top.starts_with('.') && !TOP_LEVEL.contains(&top))
        .then(|| format!("{top}: the top level holds {} and dot-files only", TOP_LEVEL.join(", ")))
}

/// Checks what is in a file.
pub(super) fn check_content(path: &str, content: &[u8]) -> Vec<String> {
    // Captured bytes, images, corpora.
    let Ok(text) = str::from_utf8(content) else { return Vec::new() };
    let mut breaches = Vec::new();
    if path.ends_with(".rs") {
        breaches.extend(check_rust(path, text));
    }
    // Fuzzers and benchmarks are workspaces of their own, which have nothing to take lints from.
    let is_outside = ["/fuzz/", "/bench/"].iter().any(|folder| path.contains(folder));
    if path.ends_with("Cargo.toml") && path != "Cargo.toml" && !is_outside {
        breaches.extend(check_manifest(path, text));
    }
    if !text.is_empty() && !text.ends_with('\n') && path != "LICENSE" {
        breaches.push(format!("{path}: the last line has no end"));
    }
    for (number, line) in (1..).zip(text.lines()) {
        if line.ends_with([' ', '\t']) {
            breaches.push(format!("{path}:{number}: white space at the end of the line"));
        }
        if let Some(place) = MACHINE_PATHS.iter().find(|place| names_path(line, place)) {
            breaches.push(format!("{path}:{number}: {place} is a path of one machine"));
        }
    }
    breaches
}

fn check_rust(path: &str, text: &str) -> Vec<String> {
    let mut breaches = Vec::new();
    if !["//! ", "#![doc = include_str!("].iter().any(|start| text.starts_with(start)) {
        breaches.push(format!("{path}: does not begin with a module doc (`//! …`)"));
    }
    let is_root = ["src/lib.rs", "src/main.rs"].iter().any(|root| path.ends_with(root));
    let may_be_unsafe = MAY_BE_UNSAFE.iter().any(|folder| path.starts_with(folder));
    if is_root && !may_be_unsafe && !text.contains("#![forbid(unsafe_code)]") {
        breaches.push(format!("{path}: lacks #![forbid(unsafe_code)]"));
    }
    breaches
}

fn check_manifest(path: &str, text: &str) -> Option<String> {
    (!text.contains("[lints]\nworkspace = true"))
        .then(|| format!("{path}: does not take the workspace's lints"))
}

/// Whether a line names a place, and not a folder of the same name further down a path.
fn names_path(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|before| !(before.is_alphanumeric() || matches!(before, '.' | '_' | '-')))
    })
}

/// What stands at the top besides dot-files; a newcomer reads this list first, so it stays short.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "README.md",
    "crates",
    "deny.toml",
    "examples",
    "xtask",
];

/// Where raw memory is handled.
const MAY_BE_UNSAFE: &[&str] = &["crates/nuthatch-store/"];

/// Places that exist on the machine of whoever wrote the line. In two pieces each, because this
/// file is checked as well.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/fa", "rm/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/tmp/ta", "rget"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_level_is_a_short_list() {
        for path in ["Cargo.toml", "crates/x/src/lib.rs", ".ci/run", ".gitignore"] {
            assert_eq!(check_name(path), None);
        }
        for path in ["CHANGELOG.md", "docs/x.md", "Makefile"] {
            assert!(check_name(path).is_some(), "{path}");
        }
    }

    #[test]
    fn sources_begin_with_their_doc() {
        assert_eq!(check_content("crates/x/src/a.rs", b"//! What this is.\n"), [""; 0]);
        for text in ["use std::io;\n", "\n//! Late.\n", "// Not a doc.\n", "//!\n"] {
            assert_eq!(check_content("a.rs", text.as_bytes()).len(), 1, "{text:?}");
        }
    }

    #[test]
    fn crates_forbid_unsafe_code() {
        let lib = b"//! A crate.\n";
        assert_eq!(check_content("crates/nuthatch-proto/src/lib.rs", lib).len(), 1);
        assert_eq!(check_content("crates/nuthatch-store/src/lib.rs", lib), [""; 0]);
        let safe = b"//! A crate.\n\n#![forbid(unsafe_code)]\n";
        assert_eq!(check_content("crates/nuthatch-proto/src/lib.rs", safe), [""; 0]);
    }

    #[test]
    fn manifests_take_the_workspace_s_lints() {
        let path = "crates/nuthatch-proto/Cargo.toml";
        assert_eq!(check_content(path, b"[package]\n").len(), 1);
        assert_eq!(check_content(path, b"[package]\n\n[lints]\nworkspace = true\n"), [""; 0]);
        assert_eq!(check_content("Cargo.toml", b"[workspace]\n"), [""; 0]);
        for outside in ["proto/fuzz", "store/bench"] {
            let path = format!("crates/nuthatch-{outside}/Cargo.toml");
            assert_eq!(check_content(&path, b"[package]\n"), [""; 0]);
        }
    }

    #[test]
    fn lines_end_where_their_text_ends() {
        assert_eq!(check_content("a.md", b"a \nb\t\nc").len(), 3);
        assert_eq!(check_content("a.md", b"a\nb\n"), [""; 0]);
        assert_eq!(check_content("a.bin", b"\xff \n"), [""; 0], "not text");
    }

    #[test]
    fn no_path_of_one_machine() {
        for place in MACHINE_PATHS {
            let line = format!("see {place}x\n");
            assert_eq!(check_content("a.md", line.as_bytes()).len(), 1, "{place}");
            let line = format!("a path below{place}x\n");
            assert_eq!(check_content("a.md", line.as_bytes()), [""; 0], "{line}");
        }
    }
}
