//! Backends for tests in other languages: reads commands from standard input, a JSON object a line (see
//! `hc_testkit::stage::Command`), and answers each with a line. Ends with its input, and its backends with it.
//!
//! `hc-backend AUTHORITY_FILE` writes the certificate that is to be trusted to that file, in PEM.

use std::fs;
use std::io::{self, BufRead as _, Write as _};

use hc_testkit::stage::Stage;

fn main() -> io::Result<()> {
    let mut stage = Stage::new()?;
    if let Some(file) = std::env::args_os().nth(1) {
        fs::write(file, stage.trusted())?;
    }
    let mut output = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        serde_json::to_writer(&mut output, &stage.obey(&line?))?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}
