//! Merges the letters of a book that died in several runs.

use std::collections::HashMap;

use gopherworks_pipeline::book::header;
use sha2::{Digest, Sha256};

use super::{Blob, Content, Letter};

/// One letter for each book, at the place of its first death: its last letter, with the deaths and
/// attempts of all.
///
/// Two letters of one run are two books, even if they are equal. So the n-th of equal letters in
/// one run is matched with the n-th in another.
/// in one run is taken for the n-th of them in another.
pub(super) fn merged(letters: Vec<Letter>) -> Vec<Letter> {
    let mut out: Vec<Letter> = Vec::new();
    let mut places: HashMap<([u8; 32], usize), usize> = HashMap::new();
    let mut seen: HashMap<([u8; 32], String), usize> = HashMap::new();
    for letter in letters {
        let identity = identity(&letter);
        let nth = seen.entry((identity, letter.run.clone())).or_default();
        let key = (identity, *nth);
        *nth += 1;
        match places.get(&key) {
            Some(at) => {
                let before = &mut out[*at];
                let first = std::mem::take(&mut before.key);
                *before = Letter {
                    attempts: before.attempts.saturating_add(letter.attempts),
                    deaths: before.deaths.saturating_add(letter.deaths),
                    first: std::mem::take(&mut before.first),
                    key: if first.is_empty() { letter.key.clone() } else { first },
                    ..letter
                };
            }
            None => {
                places.insert(key, out.len());
                out.push(letter);
            }
        }
    }
    out
}

/// Identity of a book: pile, key, name and body.
fn identity(letter: &Letter) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    let mut blob = |blob: &Blob| match blob {
        Blob::Text(text) => add(text.as_bytes()),
        Blob::Base64(text) => add(text.as_bytes()),
    };
    blob(&letter.topology);
    blob(&Blob::Text(letter.pile.clone()));
    for name in [header::KEY, header::NAME] {
        let value = letter.headers.iter().find(|(header, _)| header == name);
        blob(value.map_or(&Blob::Text(String::new()), |(_, value)| value));
    }
    match &letter.body {
        Content::Bytes(bytes) => blob(bytes),
        // Copies have different paths.
        Content::File { sha256: Some(hash), .. } => blob(&Blob::Text(hash.clone())),
        Content::File { path, offset, len, .. } => {
            blob(path);
            blob(&Blob::Text(format!("{offset} {len:?}")));
        }
    }
    hash.finalize().into()
}
