//! Expands a kept corpus into the directory of files that libFuzzer works on, and folds such a
//! directory back.

use std::path::Path;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use hc_fuzz_targets::{Corpus, TARGETS};

const USAGE: &str = "Usage: corpus expand|fold TARGET DIRECTORY";

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [action, target, directory] = args.as_slice() else { bail!(USAGE) };
    if !TARGETS.iter().any(|known| known.name == target) {
        let names: Vec<_> = TARGETS.iter().map(|known| known.name).collect();
        bail!("there is no target {target:?}; there are {}", names.join(", "));
    }
    let directory = Path::new(directory);
    match action.as_str() {
        "expand" => expand(target, directory),
        "fold" => fold(target, directory),
        _ => bail!(USAGE),
    }
}

/// Writes each input of the corpus into a file of its own. The directory is made if it is missing.
fn expand(target: &str, directory: &Path) -> Result<()> {
    let corpus = Corpus::load(target).with_context(|| Corpus::file(target).display().to_string())?;
    fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    for (number, input) in corpus.inputs().enumerate() {
        let file = directory.join(format!("{number:04}"));
        fs::write(&file, input).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Makes the files of the directory the corpus.
fn fold(target: &str, directory: &Path) -> Result<()> {
    let corpus = fs::read_dir(directory)
        .and_then(|files| files.map(|file| fs::read(file?.path())).collect::<std::io::Result<Corpus>>())
        .with_context(|| directory.display().to_string())?;
    corpus.save(target).with_context(|| Corpus::file(target).display().to_string())
}
