//! Selects the header fields that a gateway forwards (RFC 9110, 7.6), without those of a single
//! connection or message.

use gopherworks_pipeline::book::Headers;

use super::{ANSWER_FIELD, HOST, REQUEST_FIELD, TYPE};

/// Separator of the values of a repeated field; a field value can't contain it.
const BETWEEN: char = '\n';

/// Fields of a single connection, besides those listed in `Connection`.
const HOP_BY_HOP: [&str; 12] = [
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    // Already handled by the server that reads the body.
    "expect",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Message {
    Request,
    Answer,
}

impl Message {
    fn prefix(self) -> &'static str {
        match self {
            Message::Request => REQUEST_FIELD,
            Message::Answer => ANSWER_FIELD,
        }
    }
}

/// True for a field that is never forwarded: it belongs to one connection, or is set anew for each
/// message (length, host).
pub(crate) fn stays(name: &str) -> bool {
    HOP_BY_HOP.contains(&name) || name == "content-length" || name == "host"
}

/// True for a field that describes the body (RFC 9110, 15.4).
pub(super) fn describes_body(name: &str) -> bool {
    const DESCRIBING: [&str; 6] = [
        "content-encoding",
        "content-language",
        "content-location",
        "content-type",
        "digest",
        "last-modified",
    ];
    DESCRIBING.contains(&name)
}

/// Copies the fields that may be forwarded into a book's headers, except those in `drop`. Names are
/// in lower case. `fields` is called twice, since `Connection` may follow the fields that it lists.
pub(crate) fn take_in<'a, I: Iterator<Item = (&'a str, &'a [u8])>>(
    message: Message,
    fields: impl Fn() -> I,
    drop: &[String],
    headers: &mut Headers,
) {
    let connection: Vec<&[u8]> = fields()
        .filter(|(name, _)| *name == "connection")
        .flat_map(|(_, value)| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .collect();
    let named = |name: &str| {
        let mut options = connection.iter();
        options.any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
    };
    for (name, value) in fields() {
        if name == "host" && message == Message::Request {
            headers.set(HOST, value.to_vec());
            continue;
        }
        if stays(name) || named(name) || drop.iter().any(|dropped| dropped == name) {
            continue;
        }
        if name == TYPE {
            headers.set(TYPE, value.to_vec());
            continue;
        }
        let key = format!("{}{name}", message.prefix());
        let value = match headers.get(&key) {
            Some(first) => [first, &[BETWEEN as u8][..], value].concat(),
            None => value.to_vec(),
        };
        headers.set(key, value);
    }
}

/// Returns the message's fields from a book's headers as (name, value); repeated fields keep their
/// order.
pub(crate) fn give_out(message: Message, headers: &Headers) -> impl Iterator<Item = (&str, &[u8])> {
    let fields = headers.iter().filter_map(move |(key, value)| {
        let name = key.strip_prefix(message.prefix())?;
        (!stays(name)).then_some((name, value))
    });
    fields.flat_map(|(name, value)| {
        let values = value.split(|byte| *byte == BETWEEN as u8);
        values.map(move |value| (name, value))
    })
}

/// Removes a message's fields from a book's headers.
pub(super) fn clear(message: Message, headers: &mut Headers) {
    let prefix = message.prefix();
    let keys: Vec<String> = (headers.iter())
        .filter(|(key, _)| key.starts_with(prefix))
        .map(|(key, _)| key.to_owned())
        .collect();
    for key in keys {
        headers.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(fields: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut headers = Headers::new();
        let fields = || fields.iter().map(|(name, value)| (*name, value.as_bytes()));
        take_in(Message::Request, fields, &["x-secret".to_owned()], &mut headers);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fields = give_out(Message::Request, &headers);
        fields.map(|(name, value)| (name.to_owned(), text(value))).collect()
    }

    #[test]
    fn fields_of_a_connection_stay() {
        for name in HOP_BY_HOP {
            assert_eq!(passed(&[(name, "x")]), [], "{name}");
        }
        let fields = [
            ("connection", "close, X-Private ,x-other"),
            ("x-private", "1"),
            ("x-other", "2"),
            ("x-secret", "3"),
            ("content-length", "4"),
            ("host", "h"),
            ("accept", "*/*"),
        ];
        assert_eq!(passed(&fields), [("accept".to_owned(), "*/*".to_owned())]);
    }

    #[test]
    fn several_fields_of_a_name_keep_their_order() {
        let fields = [("cookie", "a=1"), ("x-b", "2"), ("cookie", "c=3")];
        let kept = passed(&fields);
        let kept: Vec<_> = kept.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(kept, [("cookie", "a=1"), ("cookie", "c=3"), ("x-b", "2")]);
    }
}
