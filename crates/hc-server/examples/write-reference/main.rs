//! Writes the pages of `docs/reference` that tests of this crate hold against the program: its
//! settings, the admin API and the metrics.

mod keys;
mod pages;

use std::path::Path;

fn main() -> std::io::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    pages::all().into_iter().try_for_each(|(name, text)| std::fs::write(docs.join(name), text))
}
