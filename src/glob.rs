//! Glob patterns for paths and for names of nodes.
//!
//! `?` matches one character, `*` any number of them, `[a-z]` and `[!a-z]` one of a set, and
//! `{a,b}` one of the alternatives; `\` makes the next character literal. In patterns for paths, `?`
//! and `*` do not match `/`, and `**` as a whole component matches any number of components.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// A valid pattern.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    pattern: String,
    names: bool,
}

/// Stands for `/` in names, where it is no separator.
const SLASH: char = '\u{1f}';

impl Glob {
    /// A pattern for relative paths.
    pub(crate) fn of_paths(text: &str) -> Result<Self, String> {
        Self::new(text.to_owned(), false)
    }

    /// A pattern for names of nodes, in which `/` is a character like any other.
    pub(crate) fn of_names(text: &str) -> Result<Self, String> {
        Self::new(text.replace('/', SLASH.encode_utf8(&mut [0; 4])), true)
    }

    fn new(text: String, names: bool) -> Result<Self, String> {
        fast_glob::validate(&text).map_err(|error| error.to_string())?;
        // The library would negate the pattern.
        let pattern = if text.starts_with('!') { format!("\\{text}") } else { text };
        Ok(Self { pattern, names })
    }

    /// True if the pattern matches the whole of `text`.
    pub(crate) fn is_match(&self, text: impl AsRef<OsStr>) -> bool {
        let text = text.as_ref().as_bytes();
        if !self.names {
            return fast_glob::glob_match(&self.pattern, text);
        }
        let text: Vec<u8> =
            text.iter().map(|byte| if *byte == b'/' { SLASH as u8 } else { *byte }).collect();
        fast_glob::glob_match(&self.pattern, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_of_paths_stay_within_a_component() {
        let cases: [(&str, &[&str], &[&str]); 7] = [
            ("*.rs", &["a.rs", ".rs"], &["src/a.rs", "a.rss"]),
            ("**/*.rs", &["a.rs", "src/a.rs", "src/deep/a.rs"], &["a.c"]),
            ("src/**", &["src/a", "src/deep/a"], &["src", "lib/src/a"]),
            ("**/target", &["target", "lib/target"], &["target/a"]),
            ("{a,b/c}?", &["ax", "b/cx", "aé"], &["a", "a/"]),
            ("[!a-c]\\*", &["d*", "é*"], &["a*", "dx", "/*"]),
            ("!a", &["!a"], &["a", "b"]),
        ];
        for (pattern, matched, others) in cases {
            let glob = Glob::of_paths(pattern).unwrap();
            for text in matched {
                assert!(glob.is_match(text), "{pattern} {text}");
            }
            for text in others {
                assert!(!glob.is_match(text), "{pattern} {text}");
            }
        }
        let latin = OsStr::from_bytes(b"src/\xe9.rs");
        assert!(Glob::of_paths("src/*.rs").unwrap().is_match(latin));
    }

    #[test]
    fn wildcards_of_names_match_slashes() {
        assert!(Glob::of_names("*").unwrap().is_match("haul/1"));
        assert!(Glob::of_names("h*/?").unwrap().is_match("haul/1"));
        assert!(!Glob::of_names("haul").unwrap().is_match("haul/1"));
    }

    #[test]
    fn broken_patterns_are_refused() {
        for text in ["a[", "{a,b", "a\\"] {
            assert!(Glob::of_paths(text).is_err() && Glob::of_names(text).is_err(), "{text}");
        }
    }
}
