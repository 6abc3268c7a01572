//! `docs/performance.md`: what is measured stands between markers and is written from the JSON
//! files; everything else is prose, written by hand.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::goals;
use crate::report::Report;

/// What a benchmark found, if there is a file of it.
pub(crate) type Reports<'a> = dyn Fn(&str) -> Option<Report> + 'a;

/// The page, below the root of the workspace.
const PAGE: &str = "docs/performance.md";

/// The JSON files and the plots, below the root of the workspace, and as the page links them.
pub(crate) const FOLDER: &str = "docs/performance";
const LINKED: &str = "performance";

/// Writes what was measured into the page again.
pub(crate) fn write(root: &Path) -> Result<()> {
    let path = root.join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    fs::write(&path, filled(&page, &|name| block(root, name))?)?;
    Ok(())
}

/// What stands between the markers of a benchmark.
fn block(root: &Path, name: &str) -> Result<String> {
    if name == goals::NAME {
        return Ok(goals::table(&|name| report(root, name).ok()).markdown());
    }
    // One that has just been written about is measured next.
    if !root.join(FOLDER).join(format!("{name}.json")).exists() {
        return Ok("Not measured yet.\n".to_owned());
    }
    let report = report(root, name)?;
    Ok(format!("{}\n{}", report.facts.markdown(), report.markdown(LINKED)))
}

fn report(root: &Path, name: &str) -> Result<Report> {
    let path = root.join(FOLDER).join(format!("{name}.json"));
    let json = fs::read(&path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&json).with_context(|| path.display().to_string())
}

/// The benchmark that a line begins the block of.
fn marker(line: &str) -> Option<&str> {
    line.strip_prefix("<!-- measured: ")?.strip_suffix(" -->")
}

/// The page with each block between `<!-- measured: NAME -->` and `<!-- end -->` made again.
fn filled(page: &str, block: &dyn Fn(&str) -> Result<String>) -> Result<String> {
    let mut text = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        text.push_str(line);
        text.push('\n');
        let Some(name) = marker(line) else { continue };
        if !lines.any(|line| line == "<!-- end -->") {
            bail!("{PAGE}: the block {name} has no end");
        }
        text.push_str(&format!("\n{}<!-- end -->\n", block(name)?));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_replaced_and_prose_stays() {
        let page = "# P\n<!-- measured: cpu -->\nold\n<!-- end -->\nprose\n";
        let new = filled(page, &|name| Ok(format!("new {name}\n"))).unwrap();
        assert_eq!(new, "# P\n<!-- measured: cpu -->\n\nnew cpu\n<!-- end -->\nprose\n");
        assert_eq!(filled(&new, &|name| Ok(format!("new {name}\n"))).unwrap(), new, "twice");
    }

    #[test]
    fn a_block_without_an_end_is_an_error() {
        filled("<!-- measured: cpu -->\n", &|_| Ok(String::new())).unwrap_err();
    }

    /// Nobody writes figures into the page by hand.
    #[test]
    fn the_page_has_what_the_files_say() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let page = fs::read_to_string(root.join(PAGE)).unwrap();
        let again = filled(&page, &|name| block(&root, name)).unwrap();
        assert_eq!(page, again, "run `cargo xtask bench --page`");
    }

    #[test]
    fn every_file_of_figures_is_on_the_page() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let page = fs::read_to_string(root.join(PAGE)).unwrap();
        let mut shown: Vec<_> =
            page.lines().filter_map(marker).filter(|name| *name != goals::NAME).map(str::to_owned).collect();
        let files = fs::read_dir(root.join(FOLDER)).unwrap().map(|file| file.unwrap().path());
        let mut measured: Vec<_> = files
            .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        shown.sort_unstable();
        measured.sort_unstable();
        assert!(!measured.is_empty());
        assert_eq!(shown, measured);
    }
}
