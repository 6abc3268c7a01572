//! Writes `docs/checks.md` and `docs/checks.schema.json`, which a test holds against the table of
//! keys.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    std::fs::write(docs.join("checks.md"), hc_config::reference())?;
    std::fs::write(docs.join("checks.schema.json"), format!("{:#}\n", hc_config::schema()))
}
