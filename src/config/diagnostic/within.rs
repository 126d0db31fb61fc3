//! Places inside strings of config files.

use std::ops::Range;

use super::Origin;

impl Origin {
    /// Narrows the value's bytes to `part`, which are bytes of the string that the value is. No
    /// effect on values that are not written as strings in a file.
    #[must_use]
    pub(crate) fn within(mut self, part: Range<usize>) -> Self {
        if let Origin::File { file, value, variable: None, .. } = &mut self
            && let Some(offsets) =
                file.text().get(value.clone()).and_then(|raw| offsets(raw, &part))
        {
            *value = value.start + offsets.start..value.start + offsets.end;
        }
        self
    }
}

/// Where `part` of a TOML string is in its source.
fn offsets(raw: &str, part: &Range<usize>) -> Option<Range<usize>> {
    let (quote, escapes) = [("\"\"\"", true), ("'''", false), ("\"", true), ("'", false)]
        .into_iter()
        .find(|(quote, _)| raw.starts_with(quote))?;
    let body = raw.get(quote.len()..raw.len().checked_sub(quote.len())?)?;
    // A newline directly behind three quotes is not part of the string.
    let skipped = match quote.len() {
        3 if body.starts_with("\r\n") => 2,
        3 if body.starts_with('\n') => 1,
        _ => 0,
    };
    let start = quote.len() + skipped;
    let rest = &body[skipped..];
    let source = |wanted: usize| {
        let (mut decoded, mut at) = (0, 0);
        while decoded < wanted && at < rest.len() {
            let (bytes, length) = if escapes { unit(&rest[at..]) } else { plain(&rest[at..]) };
            decoded += bytes;
            at += length;
        }
        start + at
    };
    Some(source(part.start)..source(part.end))
}

/// Bytes of the first character as part of the string and in the source.
fn plain(rest: &str) -> (usize, usize) {
    let length = rest.chars().next().map_or(1, char::len_utf8);
    (length, length)
}

/// Likewise, where the character may be escaped.
fn unit(rest: &str) -> (usize, usize) {
    let Some(escaped) = rest.strip_prefix('\\') else {
        return plain(rest);
    };
    let digits = match escaped.as_bytes().first() {
        Some(b'x') => 2,
        Some(b'u') => 4,
        Some(b'U') => 8,
        // A line's end behind a backslash stands for nothing, with the blanks that follow.
        Some(b' ' | b'\t' | b'\n' | b'\r') => {
            let blanks = escaped.len() - escaped.trim_start_matches([' ', '\t', '\n', '\r']).len();
            return (0, 1 + blanks);
        }
        _ => return (1, 2),
    };
    let number = escaped.get(1..1 + digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    let bytes = number.and_then(char::from_u32).map_or(1, char::len_utf8);
    (bytes, 2 + digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_character_of_a_string_is_found_in_its_source() {
        for (raw, string) in [
            ("'a\\b'", "a\\b"),
            ("\"a\\\"b\\u00e9c\\U0001F600d\\n\\x41e\"", "a\"béc😀d\nAe"),
            ("'''\nab\ncd'''", "ab\ncd"),
            ("\"\"\"\r\nab \\\n   cd\"\"\"", "ab cd"),
        ] {
            let parsed: toml::Table = format!("x = {raw}").parse().unwrap();
            assert_eq!(parsed["x"].as_str().unwrap(), string, "{raw}");
            for (at, c) in string.char_indices().filter(|(_, c)| c.is_ascii_alphanumeric()) {
                let found = offsets(raw, &(at..at + 1)).unwrap();
                let shown = &raw[found];
                assert!(shown.contains(c) || shown == "\\x41", "{raw}: {c} is not {shown}");
            }
        }
        assert_eq!(offsets("12", &(0..1)), None);
    }
}
