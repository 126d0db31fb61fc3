//! Suggestions for unknown words.

use std::cell::Cell;

/// Maximum number of words compared in one check, to bound its time. Fewer in tests, so that files
/// of hundreds of entries show how the time grows.
const COMPARED: usize = if cfg!(test) { 2000 } else { 200_000 };

/// Longest word for which there is a suggestion, in bytes.
const LONGEST_WORD: usize = 100;

thread_local! {
    static LEFT: Cell<usize> = const { Cell::new(COMPARED) };
}

/// Begins a check, for which [`nearest`] may again compare this many words.
pub(crate) fn begin() {
    LEFT.set(COMPARED);
}

/// The word of `known` most similar to `word`, if one is similar enough. With very many mistakes,
/// only the first get a suggestion, so that the time is bounded.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST_WORD {
        return None;
    }
    let length = word.chars().count();
    let fits = |known: &&str| {
        let known_length = known.chars().count();
        let most = 1 + known_length / 4;
        if known_length > LONGEST_WORD || known_length.abs_diff(length) > most {
            return false;
        }
        let distance = strsim::damerau_levenshtein(word, known);
        distance <= most && distance < known_length
    };
    let left = || match LEFT.get() {
        0 => false,
        left => {
            LEFT.set(left - 1);
            true
        }
    };
    known
        .into_iter()
        .take_while(|_| left())
        .filter(fits)
        .max_by(|a, b| strsim::jaro_winkler(word, a).total_cmp(&strsim::jaro_winkler(word, b)))
}
