//! The tests that `docs/seesaw-parity.md` names exist.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashSet;
use std::fs;
use std::path::Path;

/// The names of all functions in the Rust and Go files below `directory`.
fn functions(directory: &Path, names: &mut HashSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            functions(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "go") {
            let text = fs::read_to_string(&path).unwrap();
            for (_, rest) in text
                .match_indices("fn ")
                .chain(text.match_indices("func "))
                .map(|(at, word)| text.split_at(at + word.len()))
            {
                let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                names.insert(name);
            }
        }
    }
}

/// The rows of the table with this head: number and names.
fn rows(document: &str, head: &str) -> Vec<(usize, Vec<String>)> {
    let rows = document.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let names = cells[2].split(", ").filter_map(|name| name.strip_prefix('`')?.strip_suffix('`'));
            (cells[0].parse().unwrap(), names.map(str::to_owned).collect())
        })
        .collect()
}

#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let document = fs::read_to_string(root.join("docs/seesaw-parity.md")).unwrap();
    let mut known = HashSet::new();
    for directory in ["crates", "proxy", "xtask"] {
        functions(&root.join(directory), &mut known);
    }
    for (head, count, without) in [("| point |", 40, &[][..]), ("| weakness |", 29, &[12, 29][..])] {
        let rows = rows(&document, head);
        assert!(rows.iter().map(|(number, _)| *number).eq(1..=count), "{head} {rows:?}");
        for (number, names) in rows {
            // Two are the engine's, and nothing that we could do better.
            assert_eq!(names.is_empty(), without.contains(&number), "{head} {number}");
            for name in names {
                assert!(known.contains(&name), "{head} {number}: there is no test {name}");
            }
        }
    }
}
