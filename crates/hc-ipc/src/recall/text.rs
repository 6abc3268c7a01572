//! Takes known checks out of the text of a set before it is read.

use std::sync::Arc;

use hc_types::CheckId;
use hc_wire::{CONFIGS_BEGIN, ConfigTexts, UpdateConfigs, parse_check};

use super::{Block, Digests, Item, Remembered, TOGETHER};

/// What a message with a set holds beside the checks that were read.
#[derive(Debug)]
pub(crate) struct Texts {
    /// What the known ones are blocks of; `None` if there are none.
    pub(crate) known: Option<Arc<Remembered>>,
    /// All of its checks, in their order.
    pub(crate) items: Vec<Item>,
}

/// Reads a part of a set, without the checks that are `known`. `None` for a line that is to be read
/// as any other: it is of another kind, is written in another way, or is wrong.
pub(crate) fn read(
    line: &[u8],
    known: Option<Arc<Remembered>>,
    digests: &Digests,
) -> Option<(UpdateConfigs, Texts)> {
    let Cut { rest, marks } = known.as_ref().map(|known| cut(line, known, digests)).unwrap_or_default();
    let is_cut = !marks.is_empty();
    let texts = ConfigTexts::read(if is_cut { &rest } else { line })?;
    let mut configs = Vec::with_capacity(texts.configs().len());
    let (mut items, mut marks) = (Vec::new(), marks.into_iter().peekable());
    let mut group = Group::new(digests);
    for text in texts.configs() {
        while let Some(mark) = marks.next_if(|mark| mark.behind == configs.len()) {
            group.end(&mut items);
            items.push(Item::Known(mark.blocks));
        }
        let entry = parse_check(text);
        group.add(entry.as_ref().ok().map(|check| check.id), text, &mut items);
        configs.push(entry);
    }
    group.end(&mut items);
    items.extend(marks.map(|mark| Item::Known(mark.blocks)));
    let ConfigTexts { generation, part, parts, .. } = texts;
    let update = UpdateConfigs { configs, generation, part, parts };
    Some((update, Texts { known: known.filter(|_| is_cut), items }))
}

/// A line without the checks that are known.
#[derive(Debug, Default)]
struct Cut {
    rest: Vec<u8>,
    marks: Vec<Mark>,
}

/// Where known checks were.
#[derive(Debug)]
struct Mark {
    /// How many checks of the rest are before them.
    behind: usize,
    blocks: std::ops::Range<usize>,
}

/// Of a line that begins with [`CONFIGS_BEGIN`]. Nothing is cut behind the place where it is not as
/// hc-proxy writes it.
fn cut(line: &[u8], known: &Remembered, digests: &Digests) -> Cut {
    let mut cut = Cut { rest: CONFIGS_BEGIN.to_vec(), marks: Vec::new() };
    let mut at = CONFIGS_BEGIN.len();
    let (mut hint, mut behind) = (0, 0);
    // A check begins at `at`, and all before it is taken.
    while let Some(id) = line.get(at..).and_then(leading_id) {
        let found = known.beginning_with(id, hint).and_then(|place| {
            let block = known.blocks.get(place)?;
            let text = line.get(at..at.checked_add(block.length()?)?)?;
            block.is_text(text, digests).then_some((place, at + text.len()))
        });
        let end = match found.map_or_else(|| object_end(line, at), |(_, end)| Some(end)) {
            Some(end) if matches!(line.get(end), Some(b',' | b']')) => end,
            // The rest of the line stays.
            _ => break,
        };
        match found {
            Some((place, _)) => {
                cut.mark(behind, place);
                hint = place + 1;
            }
            None => {
                cut.separate(behind);
                cut.rest.extend_from_slice(&line[at..end]);
                behind += 1;
            }
        }
        at = end;
        if line[end] == b']' {
            cut.rest.extend_from_slice(&line[end..]);
            return cut;
        }
        at += 1;
    }
    // A comma with nothing behind it: whoever reads the whole line says what is wrong.
    if line[at..].trim_ascii_start().starts_with(b"]") {
        return Cut::default();
    }
    cut.separate(behind);
    cut.rest.extend_from_slice(&line[at..]);
    cut
}

impl Cut {
    /// A check comes next in the rest, which has so many.
    fn separate(&mut self, checks: usize) {
        if checks > 0 {
            self.rest.push(b',');
        }
    }

    /// A known block is here.
    fn mark(&mut self, behind: usize, place: usize) {
        match self.marks.last_mut() {
            Some(mark) if mark.behind == behind && mark.blocks.end == place => mark.blocks.end += 1,
            _ => self.marks.push(Mark { behind, blocks: place..place + 1 }),
        }
    }
}

/// The id of a check that is written with its id first, as hc-proxy does.
fn leading_id(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(br#"{"id":"#)?;
    let end = digits.iter().take(21).position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// Where the object that begins at `at` ends.
fn object_end(line: &[u8], at: usize) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (place, byte) in line.iter().enumerate().skip(at) {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' if !in_string => depth += 1,
            b'}' if !in_string => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(place + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Checks that were read and follow each other.
struct Group<'a> {
    digests: &'a Digests,
    digest: super::block::Digest,
    count: usize,
    block: Option<Block>,
    /// One of them is not valid, so their text has to be read each time.
    is_open: bool,
}

impl<'a> Group<'a> {
    fn new(digests: &'a Digests) -> Self {
        Self { digests, digest: digests.begin(), count: 0, block: None, is_open: false }
    }

    /// Adds a check, whose id is known if it is valid.
    fn add(&mut self, id: Option<CheckId>, text: &str, items: &mut Vec<Item>) {
        let fits = match (id, &mut self.block) {
            _ if self.count == TOGETHER => false,
            (Some(CheckId(id)), Some(block)) => block.push(id),
            (Some(CheckId(id)), block @ None) => {
                *block = Some(Block::new(id));
                // Its text begins with the first check.
                self.is_open |= self.count > 0;
                true
            }
            (None, _) => {
                self.is_open = true;
                true
            }
        };
        if !fits {
            self.end(items);
            return self.add(id, text, items);
        }
        if self.count > 0 {
            self.digest.add(b",");
        }
        self.digest.add(text.as_bytes());
        self.count += 1;
    }

    /// What comes next does not follow.
    fn end(&mut self, items: &mut Vec<Item>) {
        let Self { digest, count, mut block, is_open, .. } = std::mem::replace(self, Self::new(self.digests));
        if count == 0 {
            return;
        }
        if let Some(block) = block.as_mut().filter(|_| !is_open) {
            block.close(&digest);
        }
        items.push(Item::Read(count, block));
    }
}
