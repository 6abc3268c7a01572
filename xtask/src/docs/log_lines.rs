//! The warnings and errors that the programs can log, found in their sources, and the page that
//! explains each.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::page::Page;
use crate::workspace::{Package, Workspace};

/// The page, below the root.
pub(super) const PAGE: &str = "docs/log.md";

/// Lines that the page lacks, and lines of the page that no program logs.
pub(super) fn problems(workspace: &Workspace, pages: &[Page]) -> Result<Vec<String>> {
    let Some(page) = pages.iter().find(|page| page.path == Path::new(PAGE)) else {
        bail!("there is no {PAGE}")
    };
    let logged = logged(workspace)?;
    let explained: BTreeSet<String> = page.keys.iter().cloned().collect();
    let missing = logged.difference(&explained).map(|line| format!("{PAGE} does not explain: {line}"));
    let stale = explained.difference(&logged).map(|line| format!("{PAGE}: no program logs: {line}"));
    Ok(missing.chain(stale).collect())
}

/// Every line of both programs.
fn logged(workspace: &Workspace) -> Result<BTreeSet<String>> {
    let mut lines = BTreeSet::new();
    for package in workspace.packages().filter(Package::is_published) {
        for file in files(&package.directory()?.join("src"), "rs")? {
            let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            of_rust(&text, &mut lines).with_context(|| file.display().to_string())?;
        }
    }
    for directory in ["cmd/hc-proxy", "internal"] {
        for file in files(&workspace.proxy().join(directory), "go")? {
            if !file.to_string_lossy().ends_with("_test.go") {
                let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
                of_go(&text, &mut lines).with_context(|| file.display().to_string())?;
            }
        }
    }
    Ok(lines)
}

/// All files below a directory with this ending.
fn files(directory: &Path, ending: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path, ending)?);
        } else if path.extension().is_some_and(|end| end == ending)
            && path.file_stem().is_some_and(|stem| stem != "tests")
        {
            found.push(path);
        }
    }
    Ok(found)
}

/// The messages of `warn!` and `error!`: the text that stands last. Tests are left out.
fn of_rust(text: &str, lines: &mut BTreeSet<String>) -> Result<()> {
    let tokens: TokenStream = text.parse().map_err(|error| anyhow::anyhow!("not Rust: {error}"))?;
    walk(tokens, lines)
}

fn walk(tokens: TokenStream, lines: &mut BTreeSet<String>) -> Result<()> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match (token, tokens.get(at), tokens.get(at + 1)) {
            (TokenTree::Punct(hash), Some(TokenTree::Group(attribute)), _)
                if hash.as_char() == '#'
                    && attribute.stream().to_string().replace(' ', "") == "cfg(test)" =>
            {
                // What it belongs to ends with braces or a semicolon.
                let ends = |token: &TokenTree| match token {
                    TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                    TokenTree::Punct(punct) => punct.as_char() == ';',
                    _ => false,
                };
                at += tokens[at..].iter().position(ends).map_or(0, |length| length + 1);
            }
            (TokenTree::Ident(name), Some(TokenTree::Punct(bang)), Some(TokenTree::Group(arguments)))
                if bang.as_char() == '!' && (name == "warn" || name == "error") =>
            {
                lines.insert(message(arguments.stream()).with_context(|| format!("{name}!({arguments})"))?);
                at += 2;
            }
            (TokenTree::Group(group), ..) => walk(group.stream(), lines)?,
            _ => {}
        }
    }
    Ok(())
}

/// The last argument, a text.
fn message(arguments: TokenStream) -> Result<String> {
    let tokens: Vec<TokenTree> = arguments.into_iter().collect();
    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
    let last = tokens.split(is_comma).rfind(|argument| !argument.is_empty());
    let Some([TokenTree::Literal(literal)]) = last else { bail!("its last argument is no text") };
    let text = literal.to_string();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).context("no plain text")?;
    // Of what can be escaped, messages have nothing but quotation marks.
    Ok(text.replace("\\\"", "\""))
}

/// The formats of `log.Warning`, `log.Error` and their kin, with `…` for what is filled in.
fn of_go(text: &str, lines: &mut BTreeSet<String>) -> Result<()> {
    for (number, line) in (1..).zip(text.lines()) {
        let Some(call) = ["log.Warning", "log.Error", "log.Fatal", "log.Exit"].iter().find_map(|call| {
            let (before, rest) = line.split_once(call)?;
            (!before.contains("//")).then_some(rest)
        }) else {
            continue;
        };
        let format = call.split_once("(\"").and_then(|(_, rest)| rest.split_once('"'));
        let Some((format, _)) = format else { bail!("line {number}: no text in the call: {}", line.trim()) };
        let mut parts = format.split('%');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            text.push('…');
            text.push_str(part.get(1..).unwrap_or_default());
        }
        lines.insert(text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust(text: &str) -> Result<Vec<String>> {
        let mut lines = BTreeSet::new();
        of_rust(text, &mut lines)?;
        Ok(lines.into_iter().collect())
    }

    #[test]
    fn warnings_and_errors_are_found_wherever_they_stand() {
        let text = r#"
            fn f() {
                info!("no");
                // warn!("a comment")
                match x { A => warn!(a, b.c = %d(1, 2), "one: of \"two\""), B => { tracing::error!(%e, "two",); } }
            }
            #[cfg(test)]
            mod tests { fn g() { warn!("of a test"); } }
            #[cfg(test)]
            mod other;
            fn h() { warn!("three"); }
        "#;
        assert_eq!(rust(text).unwrap(), ["one: of \"two\"", "three", "two"]);
        assert!(rust("fn f() { warn!(text); }").is_err());
    }

    #[test]
    fn what_go_fills_in_is_left_open() {
        let mut lines = BTreeSet::new();
        of_go(
            "\tlog.Warningf(\"-%s does %d: %v\", a, b, c)\n\tlog.Infof(\"no\")\n\t// log.Errorf(\"no\")",
            &mut lines,
        )
        .unwrap();
        assert_eq!(lines.into_iter().collect::<Vec<_>>(), ["-… does …: …"]);
        assert!(of_go("log.Errorf(text)", &mut BTreeSet::new()).is_err());
    }
}
