//! Names of streams, consumers and subjects. Names of works, piles and sources are input: every
//! byte that is not a letter, a digit, `-` or `_` is written as `=` and two hexadecimal digits.

use gopherworks_pipeline::store::{PileName, StoreError};

/// The server's limit for names; subjects are kept below it too.
const LONGEST: usize = 255;

/// A number that names a pack, by its content.
pub(crate) type Uid = [u8; 16];

/// A name as one token of a subject.
pub(crate) fn token(name: &str) -> String {
    if name.is_empty() {
        return "=".to_owned();
    }
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => token.push(byte as char),
            _ => token.push_str(&format!("={byte:02X}")),
        }
    }
    token
}

/// The name that a token stands for; `None` if no name gives this token.
pub(crate) fn name_of(text: &str) -> Option<String> {
    if text == "=" {
        return Some(String::new());
    }
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, others @ ..] = rest {
        rest = others;
        match first {
            b'=' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &rest[2..];
            }
            byte => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok().filter(|name| token(name) == text)
}

/// The number as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Sizes of bodies in steps of an eighth of a power of two, so that few subjects are needed.
pub(crate) fn size_class(bytes: u64) -> u32 {
    let bits = u64::BITS - bytes.leading_zeros();
    if bits <= 3 {
        return bytes as u32;
    }
    (bits - 3) * 8 + ((bytes >> (bits - 4)) & 7) as u32
}

/// The middle of a class.
pub(crate) fn size_of_class(class: u32) -> u64 {
    if class < 8 {
        return u64::from(class);
    }
    let (bits, step) = ((class / 8 + 3).min(u64::BITS), u64::from(class % 8));
    let unit = 1u64 << (bits - 4);
    ((8 + step) * unit).saturating_add(unit / 2)
}

/// What a subject with books says of its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BooksSubject {
    pub pile: PileName,
    pub books: u64,
    /// The sum of the bodies, to a sixteenth.
    pub bytes: u64,
}

/// The names of one store.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// Name of the stream.
    pub stream: String,
    prefix: String,
}

impl Names {
    pub fn new(store: &str) -> Result<Self, StoreError> {
        let store = token(store);
        let names =
            Self { stream: format!("gopherworks_{store}"), prefix: format!("gopherworks.{store}") };
        within(&names.stream)?;
        Ok(names)
    }

    /// All subjects of the store.
    pub fn all(&self) -> String {
        format!("{}.>", self.prefix)
    }

    /// All subjects of one kind, such as `p` for books.
    pub fn kind(&self, kind: char) -> String {
        format!("{}.{kind}.>", self.prefix)
    }

    /// All subjects of one kind of a pile.
    pub fn of(&self, kind: char, pile: &PileName) -> String {
        format!("{}.{kind}.{}.{}.>", self.prefix, token(&pile.works), token(&pile.pile))
    }

    fn in_pile(&self, kind: char, pile: &PileName, rest: &str) -> String {
        format!("{}.{kind}.{}.{}.{rest}", self.prefix, token(&pile.works), token(&pile.pile))
    }

    /// Subject of a message with this many books.
    pub fn books(&self, pile: &PileName, books: usize, bytes: u64) -> String {
        self.in_pile('p', pile, &format!("{books}.{}", size_class(bytes)))
    }

    /// Subject of the record of a message.
    pub fn record(&self, pile: &PileName, uid: &Uid) -> String {
        self.in_pile('r', pile, &hex(uid))
    }

    /// Subject of an offer's key, by the digest of the key.
    pub fn key(&self, pile: &PileName, digest: &Uid) -> String {
        self.in_pile('k', pile, &hex(digest))
    }

    /// Subject of the dead letters of a pile.
    pub fn dead(&self, pile: &PileName) -> String {
        self.in_pile('d', pile, "0")
    }

    /// Subject of the owner and the position of a source's share.
    pub fn mark(&self, source: &str, share: u32) -> String {
        format!("{}.m.{}.{share}", self.prefix, token(source))
    }

    /// Subject of bytes that were added to the position of a source's share, after the mark with
    /// this sequence.
    pub fn added(&self, source: &str, share: u32, after: u64) -> String {
        format!("{}.a.{}.{share}.{after}", self.prefix, token(source))
    }

    /// All subjects of such bytes of a share.
    pub fn all_added(&self, source: &str, share: u32) -> String {
        format!("{}.a.{}.{share}.*", self.prefix, token(source))
    }

    /// Subject of the next free id.
    pub fn ids(&self) -> String {
        format!("{}.i", self.prefix)
    }

    /// The durable consumer of a pile.
    ///
    /// # Errors
    /// `Unsupported` if the name is too long.
    pub fn consumer(&self, pile: &PileName) -> Result<String, StoreError> {
        let name = format!("{}~{}", token(&pile.works), token(&pile.pile));
        within(&name)?;
        Ok(name)
    }

    fn parts<'a>(&self, kind: char, subject: &'a str) -> Option<Vec<&'a str>> {
        let rest = subject.strip_prefix(&self.prefix)?.strip_prefix('.')?;
        Some(rest.strip_prefix(kind)?.strip_prefix('.')?.split('.').collect())
    }

    /// The pile of a subject of this kind.
    pub fn pile_of(&self, kind: char, subject: &str) -> Option<PileName> {
        let parts = self.parts(kind, subject)?;
        let [works, pile, ..] = parts[..] else { return None };
        Some(PileName::new(name_of(works)?, name_of(pile)?))
    }

    /// What the subject of a message with books says.
    pub fn books_of(&self, subject: &str) -> Option<BooksSubject> {
        let parts = self.parts('p', subject)?;
        let [works, pile, books, class] = parts[..] else { return None };
        let pile = PileName::new(name_of(works)?, name_of(pile)?);
        let bytes = size_of_class(class.parse().ok()?);
        Some(BooksSubject { pile, books: books.parse().ok()?, bytes })
    }

    /// The source and share of a mark.
    pub fn source_of(&self, subject: &str) -> Option<(String, u32)> {
        let parts = self.parts('m', subject)?;
        let [source, share] = parts[..] else { return None };
        Some((name_of(source)?, share.parse().ok()?))
    }
}

fn within(name: &str) -> Result<(), StoreError> {
    match name.len() <= LONGEST {
        true => Ok(()),
        false => Err(StoreError::Unsupported(
            format!("names have at most {LONGEST} bytes when encoded: `{name}`").into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_written(
            works in ".{0,20}",
            pile in ".{0,20}",
            books in 1usize..65,
        ) {
            let names = Names::new("a.b *>").unwrap();
            let name = PileName::new(works, pile);
            let subject = names.books(&name, books, 1000);
            prop_assert!(!subject.contains([' ', '*', '>', '\r', '\n']), "{}", subject);
            prop_assert_eq!(subject.split('.').count(), 7, "{}", subject);
            let read = names.books_of(&subject).unwrap();
            prop_assert_eq!((&read.pile, read.books), (&name, books as u64));
            prop_assert_eq!(names.pile_of('d', &names.dead(&name)), Some(name));
        }

        #[test]
        fn only_one_token_stands_for_a_name(text in "[=A-Za-z0-9%._-]{0,9}") {
            if let Some(name) = name_of(&text) {
                prop_assert_eq!(token(&name), text);
            }
        }

        #[test]
        fn a_size_is_known_to_a_sixteenth(bytes in 0u64..1 << 40) {
            let about = size_of_class(size_class(bytes));
            prop_assert!(about.abs_diff(bytes) * 16 <= bytes.max(1), "{} for {}", about, bytes);
        }
    }
}
