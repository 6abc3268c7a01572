//! What a misspelt word may have meant.

/// The nearest of `known` to `word`, if it is near: at most one edit (insertion, deletion,
/// substitution or swap of neighbours) for each three characters, but one for short words.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A long word is no misspelling, and the distance costs the product of both lengths.
    let length = word.chars().take(65).count();
    if length > 64 {
        return None;
    }
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= (length / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["interval", "timeout", "retries", "tcp"];
        for (word, expected) in [
            ("intervall", Some("interval")),
            ("Interval", Some("interval")),
            ("tmieout", Some("timeout")),
            // Three edits of five letters are too many.
            ("retry", None),
            ("tpc", Some("tcp")),
            ("x", None),
            ("colour", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
        assert_eq!(nearest(&"interval".repeat(1000), known), None);
    }
}
