//! Words of a POSIX shell.

use std::fmt::Write as _;

/// A command line that is put together word by word.
#[derive(Debug, Default)]
pub(super) struct Line(String);

impl Line {
    pub(super) fn new(program: &str) -> Self {
        Self(program.to_owned())
    }

    /// Adds a word, quoted if need be.
    pub(super) fn word(&mut self, word: impl AsRef<str>) -> &mut Self {
        self.raw(&quoted(word.as_ref()))
    }

    /// Adds words that need no quotes.
    pub(super) fn words(&mut self, words: &[&str]) -> &mut Self {
        for word in words {
            self.word(word);
        }
        self
    }

    /// Adds a piece of shell as it stands.
    pub(super) fn raw(&mut self, piece: &str) -> &mut Self {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        self.0.push_str(piece);
        self
    }

    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.0)
    }
}

/// A word in single quotes, unless it needs none. NUL, which no word can hold, is left out.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "%+,-./:=@_".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\0', "").replace('\'', r"'\''"))
}

/// A `printf` that writes these bytes. Only what POSIX has: octal escapes in the format.
pub(super) fn printf(bytes: &[u8]) -> String {
    let mut text = String::from("printf '");
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            // The format is the first argument, and must not look like an option.
            b'-' if at == 0 => text.push_str(r"\055"),
            b'%' => text.push_str("%%"),
            b'\\' => text.push_str(r"\\"),
            b'\'' => text.push_str(r"\047"),
            b'\n' => text.push_str(r"\n"),
            b'\r' => text.push_str(r"\r"),
            b' '..=b'~' => text.push(char::from(*byte)),
            // Writing to a String cannot fail.
            other => drop(write!(text, r"\{other:03o}")),
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn sh(script: &str) -> Vec<u8> {
        let output = Command::new("sh").args(["-c", script]).output().unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        output.stdout
    }

    #[test]
    fn a_shell_reads_words_back() {
        for word in [
            "",
            "a",
            "a b",
            "'",
            "$HOME `id` \"x\" \\ ! * ?",
            "é\n\t;|&<>(){}[]#~",
            "-n",
            "a'b''c",
            "[::1]:80",
        ] {
            assert_eq!(sh(&format!("printf %s {}", quoted(word))), word.as_bytes(), "{word:?}");
        }
        assert_eq!(quoted("192.0.2.1:80"), "192.0.2.1:80");
    }

    #[test]
    fn printf_writes_any_bytes() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(sh(&printf(&all)), all);
        // A digit behind an escape does not become part of it.
        assert_eq!(sh(&printf(b"\x001%s\\n")), b"\x001%s\\n");
        assert_eq!(printf(b"PING\r\n"), r"printf 'PING\r\n'");
    }
}
