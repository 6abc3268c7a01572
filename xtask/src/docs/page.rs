//! A Markdown page: its anchors, links, blocks and tables.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// What the checks need of a page.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// Below the root of the workspace.
    pub(super) path: PathBuf,
    /// Where a `#fragment` can lead.
    pub(super) anchors: BTreeSet<String>,
    /// Where its links lead, with their lines.
    pub(super) links: Vec<(usize, String)>,
    pub(super) blocks: Vec<Block>,
    /// The first cell of each row of a table, if it is nothing but `code`.
    pub(super) keys: Vec<String>,
}

/// A fenced block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) line: usize,
    /// What stands behind the fence, as in `console,not-run`.
    pub(super) info: String,
    pub(super) text: String,
}

impl Page {
    pub(super) fn read(root: &Path, path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(root.join(path))
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self::parse(path, &text))
    }

    pub(super) fn parse(path: &Path, text: &str) -> Self {
        let mut page = Self { path: path.to_owned(), ..Self::default() };
        let mut known = BTreeMap::new();
        let mut heading: Option<String> = None;
        let mut in_block = false;
        // The events of the first cell of a row, while we are in it.
        let (mut cell, mut cells) = (None::<Vec<Event<'_>>>, 0);
        let line = |range: &Range<usize>| text[..range.start].matches('\n').count() + 1;
        for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
            match &event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = anchor(&heading.take().unwrap_or_default());
                    let before: &mut usize = known.entry(anchor.clone()).or_default();
                    page.anchors.insert(if *before == 0 { anchor } else { format!("{anchor}-{before}") });
                    *before += 1;
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push((line(&range), dest_url.to_string()));
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let info = match kind {
                        CodeBlockKind::Fenced(info) => info.to_string(),
                        CodeBlockKind::Indented => "indented".to_owned(),
                    };
                    page.blocks.push(Block { line: line(&range), info, text: String::new() });
                    in_block = true;
                }
                Event::End(TagEnd::CodeBlock) => in_block = false,
                Event::Text(text) if in_block => {
                    if let Some(block) = page.blocks.last_mut() {
                        block.text.push_str(text);
                    }
                }
                Event::Html(html) | Event::InlineHtml(html) => page.anchors.extend(ids(html)),
                Event::Start(Tag::TableRow) => cells = 0,
                Event::Start(Tag::TableCell) if cells == 0 => cell = Some(Vec::new()),
                Event::End(TagEnd::TableCell) => {
                    cells += 1;
                    if let Some(&[Event::Code(ref code)]) = cell.take().as_deref() {
                        page.keys.push(code.to_string());
                    }
                }
                _ => {}
            }
            if let (Some(heading), Event::Text(text) | Event::Code(text)) = (&mut heading, &event) {
                heading.push_str(text);
            }
            if let Some(cell) = &mut cell
                && !matches!(event, Event::Start(Tag::TableCell))
            {
                cell.push(event);
            }
        }
        page
    }
}

/// The anchor that a heading gets on the usual sites: small letters, blanks as `-`, no punctuation.
fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.trim().to_lowercase().chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The values of `id` in HTML.
fn ids(html: &str) -> Vec<String> {
    let values = html.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next());
    values.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let text = "# A `b`: c/d\n\n# A b cd\n\n<a id=\"here\"></a>\n\n[x](y.md#z)\n\n| k | v |\n|---|---|\n| `one` | `no` |\n| `a`, `b` | |\n\n```console,not-run\n$ ls\n```\n";
        let page = Page::parse(Path::new("p.md"), text);
        assert_eq!(page.anchors, ["a-b-cd", "a-b-cd-1", "here"].map(str::to_owned).into());
        assert_eq!(page.links, [(7, "y.md#z".to_owned())]);
        assert_eq!(page.keys, ["one"]);
        let [block] = &page.blocks[..] else { panic!("{page:?}") };
        assert_eq!((block.line, &*block.info, &*block.text), (14, "console,not-run", "$ ls\n"));
    }
}
