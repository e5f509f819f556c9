//! The manual and the reference page are what the tables of options make of them.
//!
//! `cargo xtask docs` runs this test with [`WRITE_VARIABLE`] set, and then it writes them.

use std::{env, fs, path::Path};

use nuthatch_server::options;

/// Set, the pages are written instead of compared.
const WRITE_VARIABLE: &str = "NUTHATCH_WRITE_DOCS";

#[test]
fn the_pages_are_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for (name, made) in [
        ("nuthatchd.1", options::man_page()),
        ("memcached.1", ".so man1/nuthatchd.1\n".to_owned()),
        ("options.md", options::reference_page()),
    ] {
        let path = folder.join(name);
        if env::var_os(WRITE_VARIABLE).is_some() {
            fs::write(&path, &made).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == made, "{name} is not what the options say: run `cargo xtask docs`");
    }
}
