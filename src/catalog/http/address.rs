//! URLs with placeholders. Values of a book are encoded, so they can't reach into other parts of
//! the URL.

use std::borrow::Cow;

use gopherworks_pipeline::book::Book;
use reqwest::Url;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

use super::{PATH, QUERY};

/// A URL whose path and query may contain `{name}`, `{id}` and `{query}`, replaced for each book.
#[derive(Debug, Clone)]
pub struct Address {
    path: Vec<Piece>,
    query: Option<Vec<Piece>>,
    /// Scheme, user, host and port, which never contain placeholders.
    base: Url,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Name,
    Id,
    Query,
}

/// Characters that need no encoding in a path (RFC 3986), including `/`.
fn is_path(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,;=:@/".contains(&byte)
}

/// Characters of a name that is no encoded path yet: its slashes separate folders.
fn is_name(byte: u8) -> bool {
    is_unreserved(byte) || byte == b'/'
}

/// Characters that never need encoding (RFC 3986, unreserved).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Percent-encodes all bytes except those that `keeps` accepts. If `encoded`, existing `%XX`
/// sequences are kept.
fn quote(bytes: &[u8], encoded: bool, keeps: impl Fn(u8) -> bool, into: &mut String) {
    for (at, &byte) in bytes.iter().enumerate() {
        let pair = bytes.get(at + 1..at + 3);
        let kept = encoded
            && byte == b'%'
            && pair.is_some_and(|pair| pair.iter().all(u8::is_ascii_hexdigit));
        if kept || keeps(byte) {
            into.push(char::from(byte));
        } else {
            into.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// True if a path segment is `..`, encoded or not: a URL parser would resolve it to the parent
/// folder.
fn leads_upwards(path: &str) -> bool {
    path.replace("%2e", ".").replace("%2E", ".").split('/').any(|segment| segment == "..")
}

impl Address {
    fn parse(text: &str) -> Result<Self, String> {
        if text.contains('#') {
            return Err("a fragment (`#...`) is never sent".to_owned());
        }
        let (rest, query) = text.split_once('?').map_or((text, None), |(a, b)| (a, Some(b)));
        let host = rest.find("://").map_or(0, |at| at + 3);
        let path = rest[host..].find('/').map_or(rest.len(), |slash| host + slash);
        if rest[..path].contains('{') {
            return Err("placeholders stand after the host, in the path or the query".to_owned());
        }
        let base = Url::parse(&rest[..path]).map_err(|error| error.to_string())?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err("an address begins with http:// or https:// and a host".to_owned());
        }
        Ok(Self {
            path: pieces(&rest[path..], false)?,
            query: query.map(|query| pieces(query, true)).transpose()?,
            base,
        })
    }

    /// Host and port, for messages: the full URL may contain a password.
    pub(super) fn place(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        match self.base.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Builds the URL for a book. If `passes_query`, the query of its HTTP request is appended,
    /// unless `{query}` already inserts it.
    ///
    /// # Errors
    /// If the path contains a `..` segment or the URL is invalid.
    pub(super) fn of(
        &self,
        book: Option<&Book>,
        id: &str,
        name: &[u8],
        passes_query: bool,
    ) -> Result<Url, String> {
        let headers = book.map(|book| &book.headers);
        // The path of an HTTP request is already encoded.
        let path = headers.and_then(|headers| headers.get(PATH));
        let encoded = path.is_some();
        let name = match path {
            Some(path) => path.strip_prefix(b"/").unwrap_or(path),
            None => name,
        };
        let came = headers.and_then(|headers| headers.get(QUERY));
        let fill = |pieces: &[Piece], keeps_of_name: fn(u8) -> bool| {
            let mut text = String::new();
            for piece in pieces {
                match piece {
                    Piece::Text(piece) => text.push_str(piece),
                    Piece::Name => quote(name, encoded, keeps_of_name, &mut text),
                    Piece::Id => quote(id.as_bytes(), false, is_unreserved, &mut text),
                    Piece::Query => quote(came.map_or(b"", |came| came), true, is_query, &mut text),
                }
            }
            text
        };
        let text = fill(&self.path, if encoded { is_path } else { is_name });
        if leads_upwards(&text) {
            return Err("a path with `..` is not requested".to_owned());
        }
        let mut query = self.query.as_ref().map(|pieces| fill(pieces, is_name));
        let placed = self.query.iter().flatten().any(|piece| matches!(piece, Piece::Query));
        if let Some(came) = came.filter(|_| passes_query && !placed) {
            let query = query.get_or_insert_default();
            if !query.is_empty() && !came.is_empty() {
                query.push('&');
            }
            quote(came, true, is_query, query);
        }
        let mut whole = String::from(self.base.as_str().trim_end_matches('/'));
        if !text.starts_with('/') {
            whole.push('/');
        }
        whole.push_str(&text);
        if let Some(query) = query {
            whole.push('?');
            whole.push_str(&query);
        }
        let url = Url::parse(&whole).map_err(|error| error.to_string())?;
        let place = |url: &Url| {
            (url.origin(), url.username().to_owned(), url.password().map(str::to_owned))
        };
        if place(&url) != place(&self.base) {
            return Err("an address of another host is not requested".to_owned());
        }
        Ok(url)
    }
}

fn is_query(byte: u8) -> bool {
    is_path(byte) || byte == b'?'
}

/// Splits a path or a query at its placeholders.
fn pieces(text: &str, query: bool) -> Result<Vec<Piece>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let placeholder = [("{name}", Piece::Name), ("{id}", Piece::Id), ("{query}", Piece::Query)]
            .into_iter()
            .find(|(word, _)| rest[at..].starts_with(word));
        let Some((word, piece)) = placeholder else {
            let word = rest[at..].split_inclusive('}').next().unwrap_or_default();
            return Err(format!(
                "`{word}` is not a placeholder: there are `{{name}}`, `{{id}}` and `{{query}}`"
            ));
        };
        if matches!(piece, Piece::Query) && !query {
            return Err("`{query}` stands after the question mark".to_owned());
        }
        found.push(Piece::Text(rest[..at].to_owned()));
        found.push(piece);
        rest = &rest[at + word.len()..];
    }
    found.push(Piece::Text(rest.to_owned()));
    Ok(found)
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let address = Self::parse(&text).and_then(|address| {
            address.of(None, "", b"", true)?;
            Ok(address)
        });
        address.map_err(|why| D::Error::custom(format!("`{text}`: {why}")))
    }
}

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^https?://." })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(address: &str, path: &str, query: Option<&str>) -> Result<String, String> {
        let mut book = Book::default().with_header(PATH, path.to_owned());
        if let Some(query) = query {
            book.headers.set(QUERY, query.to_owned());
        }
        let address = Address::parse(address)?;
        address.of(Some(&book), "k-1", b"", true).map(String::from)
    }

    #[test]
    fn a_path_that_came_keeps_its_encoding() {
        for (path, becomes) in [
            ("/a%20b", "http://h:1/base/a%20b"),
            ("/a%2Fb/%C3%A9", "http://h:1/base/a%2Fb/%C3%A9"),
            ("/a%2fb", "http://h:1/base/a%2fb"),
            ("/100%", "http://h:1/base/100%25"),
            ("/a+b;c=d,e@f:g", "http://h:1/base/a+b;c=d,e@f:g"),
            ("/a//b/", "http://h:1/base/a//b/"),
            ("//a", "http://h:1/base//a"),
            ("/a\\..\\b", "http://h:1/base/a%5C..%5Cb"),
            ("/", "http://h:1/base/"),
            ("", "http://h:1/base/"),
        ] {
            let url = asked("http://h:1/base/{name}", path, None);
            assert_eq!(url.as_deref(), Ok(becomes), "{path}");
        }
    }

    #[test]
    fn no_path_leads_upwards_or_to_another_host() {
        for path in ["/..", "/../x", "/a/../../x", "/%2e%2e/x", "/.%2E/x", "/a/%2E./x"] {
            let refused = asked("http://h/base/{name}", path, None);
            assert!(refused.unwrap_err().contains("with `..`"), "{path}");
        }
        let url = asked("http://h/{name}", "/@evil.example/", None);
        assert_eq!(url.as_deref(), Ok("http://h/@evil.example/"));
        let url = asked("http://h/{name}", "//evil.example/", None);
        assert_eq!(url.as_deref(), Ok("http://h//evil.example/"));
        let refused = Address::parse("http://h:9{name}").unwrap_err();
        assert!(refused.contains("after the host"), "{refused}");
    }

    #[test]
    fn a_query_is_appended_or_has_its_place() {
        for (address, query, becomes) in [
            ("http://h/{name}", Some("x=1&y=%20"), "http://h/a?x=1&y=%20"),
            ("http://h/{name}?k=v", Some("x=1"), "http://h/a?k=v&x=1"),
            ("http://h/{name}?k=v", Some(""), "http://h/a?k=v"),
            ("http://h/f?{query}&k=v", Some("x=1"), "http://h/f?x=1&k=v"),
            ("http://h/f?q={name}", Some("x=1"), "http://h/f?q=a&x=1"),
            ("http://h/{name}", Some(""), "http://h/a?"),
            ("http://h/{name}", None, "http://h/a"),
            ("http://h/{id}", None, "http://h/k-1"),
            ("http://h", Some("x=1"), "http://h/?x=1"),
        ] {
            assert_eq!(asked(address, "/a", query).as_deref(), Ok(becomes), "{address}");
        }
        let url = asked("http://h/f?file={name}&k=v", "/a&b=c", None);
        assert_eq!(url.as_deref(), Ok("http://h/f?file=a%26b%3Dc&k=v"));
    }

    #[test]
    fn names_of_files_are_encoded_once() {
        let address = Address::parse("http://h/{name}").expect("an address");
        let of = |name: &[u8]| address.of(None, "", name, true).map(String::from);
        assert_eq!(of("é %20/?#".as_bytes()).as_deref(), Ok("http://h/%C3%A9%20%2520/%3F%23"));
        assert!(of(b"../x").is_err());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for (address, why) in [
            ("http://h/{nmae}", "`{nmae}` is not a placeholder"),
            ("http://h/{query}", "after the question mark"),
            ("http://h/#x", "fragment"),
            ("http://h/a{", "`{` is not a placeholder"),
        ] {
            let refused = Address::parse(address).unwrap_err();
            assert!(refused.contains(why), "{address}: {refused}");
        }
    }
}
