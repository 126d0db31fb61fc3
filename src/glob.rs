//! Glob patterns for paths and for names of nodes.
//!
//! `?` matches one character, `*` any number of them, `[a-z]` and `[!a-z]` one of a set, and
//! `{a,b}` one of the alternatives; `\` makes the next character literal. In patterns for paths,
//! `?` and `*` do not match `/`, and `**` as a whole component matches any number of components.
//!
//! Known crates either match single bytes, which breaks `?` beyond ASCII, or compile to a regular
//! expression, whose engine is larger than all else that reading a config needs.

use std::ffi::OsStr;
use std::iter::Peekable;
use std::str::Chars;

/// Maximum number of alternatives that the braces of one pattern expand to.
const MOST_ALTERNATIVES: usize = 1_000;

/// A valid pattern.
#[derive(Debug, Clone)]
pub(crate) struct Glob {
    alternatives: Vec<Vec<Token>>,
    /// True if no wildcard but `**` matches `/`.
    paths: bool,
}

#[derive(Debug, Clone)]
enum Token {
    Char(char),
    /// `?`
    Any,
    /// `*`
    Many,
    /// `**/`: nothing, or whole components with their `/`.
    Components,
    /// `**` at the end: at least one character.
    Rest,
    Set {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    /// A pattern for relative paths.
    pub(crate) fn of_paths(text: &str) -> Result<Self, String> {
        Self::new(text, true)
    }

    /// A pattern for names of nodes, in which `/` is a character like any other.
    pub(crate) fn of_names(text: &str) -> Result<Self, String> {
        Self::new(text, false)
    }

    fn new(text: &str, paths: bool) -> Result<Self, String> {
        let mut expanded = Vec::new();
        expand(String::new(), text, &mut expanded)?;
        let alternatives = expanded.iter().map(|text| tokens(text, paths));
        Ok(Self { alternatives: alternatives.collect::<Result<_, _>>()?, paths })
    }

    /// True if the pattern matches the whole of `text`.
    pub(crate) fn is_match(&self, text: impl AsRef<OsStr>) -> bool {
        let text: Vec<char> = text.as_ref().to_string_lossy().chars().collect();
        self.alternatives.iter().any(|tokens| self.matches(tokens, &text))
    }

    /// Follows all positions of `text` that the tokens so far can reach.
    fn matches(&self, tokens: &[Token], text: &[char]) -> bool {
        let mut reached = vec![false; text.len() + 1];
        reached[0] = true;
        for token in tokens {
            let mut next = vec![false; text.len() + 1];
            let mut any_before = false;
            for at in 0..=text.len() {
                let last = at.checked_sub(1).map(|last| text[last]);
                let wild = last.is_some_and(|last| !self.paths || last != '/');
                let one = at > 0 && reached[at - 1];
                next[at] = match token {
                    Token::Char(char) => one && last == Some(*char),
                    Token::Any => one && wild,
                    Token::Set { negated, ranges } => {
                        let is_in = |char| ranges.iter().any(|(a, b)| (*a..=*b).contains(&char));
                        one && wild && last.is_some_and(|last| is_in(last) != *negated)
                    }
                    Token::Many => reached[at] || wild && next[at - 1],
                    Token::Components => reached[at] || any_before && last == Some('/'),
                    Token::Rest => any_before,
                };
                any_before |= reached[at];
            }
            reached = next;
        }
        reached[text.len()]
    }
}

/// Adds `before` followed by each alternative of the braces in `text` to `all`.
fn expand(mut before: String, text: &str, all: &mut Vec<String>) -> Result<(), String> {
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '{' => {
                let (alternatives, rest) = braces(&text[at + 1..])?;
                for alternative in alternatives {
                    expand(before.clone(), &format!("{alternative}{rest}"), all)?;
                }
                return Ok(());
            }
            '}' => return Err("`}` without `{`".to_owned()),
            _ => before.push_str(unit(text, at, &mut chars)),
        }
    }
    all.push(before);
    if all.len() > MOST_ALTERNATIVES {
        return Err(format!("more than {MOST_ALTERNATIVES} alternatives"));
    }
    Ok(())
}

/// The alternatives up to the closing brace, and what follows it.
fn braces(text: &str) -> Result<(Vec<&str>, &str), String> {
    let (mut alternatives, mut start, mut depth) = (Vec::new(), 0, 0);
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '{' => depth += 1,
            ',' if depth == 0 => {
                alternatives.push(&text[start..at]);
                start = at + 1;
            }
            '}' if depth == 0 => {
                alternatives.push(&text[start..at]);
                return Ok((alternatives, &text[at + 1..]));
            }
            '}' => depth -= 1,
            _ => {
                unit(text, at, &mut chars);
            }
        }
    }
    Err("`{` without `}`".to_owned())
}

/// The character at `at`, with the one that it escapes, or the whole set that it opens.
fn unit<'a>(text: &'a str, at: usize, chars: &mut std::str::CharIndices<'_>) -> &'a str {
    match text[at..].chars().next() {
        Some('\\') => {
            chars.next();
        }
        Some('[') => {
            // A `]` in front belongs to the set.
            let mut length = 0;
            while let Some((_, char)) = chars.next() {
                match char {
                    '\\' => drop(chars.next()),
                    ']' if length > 0 => break,
                    '!' | '^' if length == 0 => continue,
                    _ => {}
                }
                length += 1;
            }
        }
        _ => {}
    }
    &text[at..chars.offset()]
}

fn tokens(text: &str, paths: bool) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let begins = matches!(tokens.last(), None | Some(Token::Components | Token::Char('/')));
        tokens.push(match char {
            '\\' => Token::Char(chars.next().ok_or("nothing follows the last `\\`")?),
            '?' => Token::Any,
            '*' => {
                let mut deep = false;
                while chars.next_if_eq(&'*').is_some() {
                    deep = true;
                }
                match chars.peek() {
                    None if paths && deep && begins => Token::Rest,
                    Some('/') if paths && deep && begins => {
                        chars.next();
                        if chars.peek().is_some() { Token::Components } else { Token::Rest }
                    }
                    _ => Token::Many,
                }
            }
            '[' => set(&mut chars)?,
            char => Token::Char(char),
        });
    }
    Ok(tokens)
}

fn set(chars: &mut Peekable<Chars<'_>>) -> Result<Token, String> {
    let negated = chars.next_if(|char| matches!(char, '!' | '^')).is_some();
    let mut ranges = Vec::new();
    let open = || "`[` without `]`".to_owned();
    loop {
        let first = match chars.next().ok_or_else(open)? {
            ']' if !ranges.is_empty() => return Ok(Token::Set { negated, ranges }),
            '\\' => chars.next().ok_or_else(open)?,
            char => char,
        };
        let mut ahead = chars.clone();
        let last = match (ahead.next(), ahead.next()) {
            (Some('-'), Some(last)) if last != ']' => {
                *chars = ahead;
                if last == '\\' { chars.next().ok_or_else(open)? } else { last }
            }
            _ => first,
        };
        if first > last {
            return Err(format!("the range `{first}-{last}` is empty"));
        }
        ranges.push((first, last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_of_paths_stay_within_a_component() {
        let cases: [(&str, &[&str], &[&str]); 12] = [
            ("*.rs", &["a.rs", ".rs"], &["src/a.rs", "a.rss"]),
            ("**/*.rs", &["a.rs", "src/a.rs", "src/deep/a.rs"], &["a.c"]),
            ("src/**", &["src/a", "src/deep/a"], &["src", "lib/src/a"]),
            ("**/target", &["target", "lib/target"], &["target/a"]),
            ("{a,b/c}?", &["ax", "b/cx", "aé"], &["a", "a/"]),
            ("[!a-c]\\*", &["d*", "é*"], &["a*", "dx", "/*"]),
            ("!a", &["!a"], &["a", "b"]),
            ("a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["ab", "a/xb"]),
            ("**", &["a", "a/b"], &[]),
            ("a**b", &["ab", "axb"], &["a/b"]),
            ("{a,{b,c}d}.[é-ü]", &["a.é", "bd.ü", "cd.ö"], &["b.é", "a.e", "a,.é"]),
            ("[]{,}-]x", &["]x", "{x", ",x", "}x", "-x"], &["ax", "x"]),
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
        use std::os::unix::ffi::OsStrExt;
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
        for text in ["a[", "{a,b", "a\\", "a}", "[z-a]", "[]", &"{a,b}".repeat(10)] {
            assert!(Glob::of_paths(text).is_err() && Glob::of_names(text).is_err(), "{text}");
        }
    }
}
