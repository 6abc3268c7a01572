//! The pages of `docs/reference` say everything that the program knows, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../examples/write-reference/keys.rs"]
mod keys;
#[path = "../examples/write-reference/pages.rs"]
mod pages;

use std::path::Path;

use hc_server::Config;

fn page(name: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    std::fs::read_to_string(docs.join(name)).unwrap_or_default()
}

#[test]
fn the_pages_are_current() {
    for (name, text) in pages::all() {
        assert!(page(name) == text, "docs/reference/{name} is stale: run `cargo xtask reference`");
    }
}

/// The words that the program itself would take there, from its complaint about one that it does
/// not.
fn known(text: &str) -> Vec<String> {
    let error = Config::parse(Path::new("f"), text, std::iter::empty()).unwrap_err().to_string();
    let (_, expected) = error.split_once("expected ").unwrap_or_else(|| panic!("{error}"));
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_key_that_the_program_reads_is_in_the_page() {
    let text = page("hc-server.md");
    let sections = known("[nosuch]\n");
    assert!(sections.len() > 5, "{sections:?}");
    for name in &sections {
        let section = keys::sections().into_iter().find(|section| section.name == *name).unwrap();
        let title = if section.is_list { format!("[[{name}]]") } else { format!("[{name}]") };
        let heading = format!("\n### `{title}`\n");
        let (_, rest) = text.split_once(&heading).unwrap_or_else(|| panic!("{title} is not in the page"));
        let part = rest.split("\n### ").next().unwrap();
        let keys = known(&format!("{title}\nnosuch = 1\n"));
        assert!(!keys.is_empty());
        for key in keys {
            assert!(part.contains(&format!("| `{key}` |")), "{title} {key} is not in the page");
        }
    }
    assert_eq!(text.matches("\n### `[").count(), sections.len());
}

/// A key without a word about what it does helps nobody.
#[test]
fn every_key_says_what_it_does() {
    for section in keys::sections() {
        for key in section.keys {
            assert!(key.doc.len() > 10, "[{}] {}: {:?}", section.name, key.name, key.doc);
        }
    }
}

/// The man page has every option, and no other.
#[test]
fn the_man_page_has_the_options() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/man/hc-server.8");
    let text = std::fs::read_to_string(page).unwrap().replace('\\', "");
    let (_, options) = text.split_once(".SH OPTIONS").unwrap();
    let (options, _) = options.split_once(".SH ").unwrap();
    let words = options.split([' ', '\n', ',']).filter(|word| word.starts_with("--"));
    let documented: Vec<&str> = words.collect();
    let mut command = <hc_server::cli::Cli as clap::CommandFactory>::command();
    command.build();
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let mut known: Vec<String> =
        shown.map(|argument| format!("--{}", argument.get_long().unwrap())).collect();
    known.sort_by_key(|name| documented.iter().position(|found| found == name));
    assert_eq!(documented, known);
}
