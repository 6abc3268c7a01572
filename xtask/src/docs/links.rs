//! Links that lead nowhere, blocks without a language, and pages that the table of contents lacks.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::page::Page;

/// The table of contents of the book.
const SUMMARY: &str = "docs/SUMMARY.md";

/// Every problem of links, with file and line. Links to other sites are not followed.
pub(super) fn problems(root: &Path, pages: &[Page]) -> Vec<String> {
    let mut problems = Vec::new();
    for page in pages {
        for (line, link) in &page.links {
            if let Some(problem) = problem(root, pages, &page.path, link) {
                problems.push(format!("{}:{line}: {link}: {problem}", page.path.display()));
            }
        }
    }
    problems
}

fn problem(root: &Path, pages: &[Page], from: &Path, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, fragment) =
        link.split_once('#').map_or((link, None), |(file, fragment)| (file, Some(fragment)));
    let path = if file.is_empty() { from.to_owned() } else { joined(from, file) };
    if !root.join(&path).exists() {
        return Some(format!("there is no {}", path.display()));
    }
    let page = pages.iter().find(|page| page.path == path)?;
    let fragment = fragment?;
    (!page.anchors.contains(fragment)).then(|| format!("no heading of {} has this anchor", path.display()))
}

/// Where a relative link of a page leads.
fn joined(from: &Path, file: &str) -> PathBuf {
    let mut path = from.parent().unwrap_or(Path::new("")).to_owned();
    for component in Path::new(file).components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

/// Blocks of which nobody can tell whether they are run.
pub(super) fn unclear_blocks(pages: &[Page]) -> Vec<String> {
    let mut problems = Vec::new();
    for page in
        pages.iter().filter(|page| page.path.starts_with("docs") || page.path == Path::new("README.md"))
    {
        for block in &page.blocks {
            let problem = match &*block.info {
                "" => "a block without a language: write `text`, or `console` for commands",
                "indented" => "a block without a fence",
                "sh" | "bash" | "shell" if !block.text.starts_with("#!") => {
                    "a script begins with `#!`; commands are `console`, or `console,not-run` where they cannot be run"
                }
                _ if block.info.starts_with("console") && !block.text.starts_with("$ ") => {
                    "a block of commands begins with `$ `"
                }
                "console" | "console,not-run" => continue,
                info if info.starts_with("console") => "either `console` or `console,not-run`",
                _ => continue,
            };
            problems.push(format!("{}:{}: {problem}", page.path.display(), block.line));
        }
    }
    problems
}

/// Pages of `docs` that are not in the table of contents, and those that are in it twice.
pub(super) fn contents(pages: &[Page]) -> Vec<String> {
    let Some(summary) = pages.iter().find(|page| page.path == Path::new(SUMMARY)) else {
        return vec![format!("there is no {SUMMARY}")];
    };
    let mut listed = BTreeSet::new();
    let mut problems = Vec::new();
    for (line, link) in &summary.links {
        if !listed.insert(joined(&summary.path, link)) {
            problems.push(format!("{SUMMARY}:{line}: {link} is there twice"));
        }
    }
    let of_docs =
        pages.iter().filter(|page| page.path.starts_with("docs") && page.path != Path::new(SUMMARY));
    let missing = of_docs.filter(|page| !listed.contains(&page.path));
    problems.extend(missing.map(|page| format!("{SUMMARY}: {} is not in it", page.path.display())));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str, text: &str) -> Page {
        Page::parse(Path::new(path), text)
    }

    #[test]
    fn a_link_into_nothing_is_found() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("docs")).unwrap();
        for name in ["README.md", "docs/a.md"] {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        let text = "[1](docs/a.md) [2](docs/a.md#top) [3](docs/a.md#no) [4](b.md) [5](https://x/y#z) [6](#here)\n\n# Here";
        let pages = [page("README.md", text), page("docs/a.md", "# Top\n\n[up](../README.md#here)")];
        assert_eq!(
            problems(root.path(), &pages),
            [
                "README.md:1: docs/a.md#no: no heading of docs/a.md has this anchor",
                "README.md:1: b.md: there is no b.md"
            ]
        );
    }

    #[test]
    fn a_block_says_whether_it_is_run() {
        let text = "```console\n$ ls\n```\n\n```console,not-run\n$ ls\n```\n\n```toml\nx = 1\n```\n";
        assert!(unclear_blocks(&[page("docs/a.md", text)]).is_empty());
        let text = "```\nls\n```\n\n```console\nls\n```\n\n```console,maybe\n$ ls\n```\n\n```sh\nls\n```\n";
        assert_eq!(unclear_blocks(&[page("docs/a.md", text)]).len(), 4);
    }

    #[test]
    fn each_page_is_in_the_contents_once() {
        let pages = [page(SUMMARY, "[a](a.md)\n[a](a.md)"), page("docs/a.md", ""), page("docs/b.md", "")];
        let found = contents(&pages);
        assert_eq!(
            found,
            ["docs/SUMMARY.md:2: a.md is there twice", "docs/SUMMARY.md: docs/b.md is not in it"]
        );
    }
}
