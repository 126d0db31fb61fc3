//! How books are stored in packs. Stored bytes are input like any other: decoding checks them.
//!
//! A record is: the number of headers; each header's name and value; the length of the body,
//! doubled, plus 1 if the body is a file; then the body, or the name of its file. Lengths are
//! LEB128 numbers.

use bytes::Bytes;
use gopherworks_pipeline::book::Headers;
use gopherworks_pipeline::store::StoreError;

/// The body of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoredBody {
    Inline(Bytes),
    /// In the folder of bodies, under this name.
    File {
        name: String,
        size: u64,
    },
}

/// A decoded record.
#[derive(Debug)]
pub(crate) struct Record {
    pub headers: Headers,
    pub body: StoredBody,
    /// Length of the record in bytes.
    pub len: usize,
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn part(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a record to `out`.
pub(crate) fn encode(out: &mut Vec<u8>, headers: &Headers, body: &StoredBody) {
    number(out, headers.len() as u64);
    for (name, value) in headers.iter() {
        part(out, name.as_bytes());
        part(out, value);
    }
    match body {
        StoredBody::Inline(bytes) => {
            number(out, (bytes.len() as u64) << 1);
            out.extend_from_slice(bytes);
        }
        StoredBody::File { name, size } => {
            number(out, size << 1 | 1);
            part(out, name.as_bytes());
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

fn damaged() -> StoreError {
    StoreError::Corrupt("a stored book can't be decoded".into())
}

impl<'a> Reader<'a> {
    fn number(&mut self) -> Result<u64, StoreError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or_else(damaged)?;
            self.at += 1;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(damaged());
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(damaged())
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], StoreError> {
        let end = usize::try_from(len).ok().and_then(|len| self.at.checked_add(len));
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or_else(damaged)?;
        self.at += taken.len();
        Ok(taken)
    }

    fn part(&mut self) -> Result<&'a [u8], StoreError> {
        let len = self.number()?;
        self.take(len)
    }

    fn text(&mut self) -> Result<&'a str, StoreError> {
        std::str::from_utf8(self.part()?).map_err(|_| damaged())
    }
}

/// Decodes the record that `bytes` begin with. Copies, so that a book keeps no pack in memory.
///
/// # Errors
/// `Corrupt`.
pub(crate) fn decode(bytes: &[u8]) -> Result<Record, StoreError> {
    let mut reader = Reader { bytes, at: 0 };
    let mut headers = Headers::new();
    for _ in 0..reader.number()? {
        let name = reader.text()?;
        headers.set(name, Bytes::copy_from_slice(reader.part()?));
    }
    let kind = reader.number()?;
    let size = kind >> 1;
    let body = match kind & 1 {
        0 => StoredBody::Inline(Bytes::copy_from_slice(reader.take(size)?)),
        _ => StoredBody::File { name: reader.text()?.to_owned(), size },
    };
    Ok(Record { headers, body, len: reader.at })
}

/// Length of the record that `bytes` begin with.
///
/// # Errors
/// `Corrupt`.
pub(crate) fn skip(bytes: &[u8]) -> Result<usize, StoreError> {
    let mut reader = Reader { bytes, at: 0 };
    for _ in 0..2 * u128::from(reader.number()?) {
        reader.part()?;
    }
    match reader.number()? {
        kind if kind & 1 == 0 => reader.take(kind >> 1)?,
        _ => reader.part()?,
    };
    Ok(reader.at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..300)
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(
            headers in prop::collection::btree_map(".{0,9}", bytes(), 0..4),
            body in bytes(),
            size in prop::option::of(0u64..1 << 62),
            rest in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let mut written = Headers::new();
            for (name, value) in &headers {
                written.set(name.clone(), value.clone());
            }
            let body = match size {
                Some(size) => StoredBody::File { name: format!("{size:x}"), size },
                None => StoredBody::Inline(body.into()),
            };
            let mut out = Vec::new();
            encode(&mut out, &written, &body);
            let len = out.len();
            out.extend(rest);
            let record = decode(&out).unwrap();
            prop_assert_eq!(record.len, len);
            prop_assert_eq!(skip(&out).unwrap(), len);
            prop_assert_eq!(record.headers, written);
            prop_assert_eq!(record.body, body);
            for cut in 0..len {
                prop_assert!(decode(&out[..cut]).is_err(), "cut at {}", cut);
            }
        }

        #[test]
        fn damaged_records_are_refused_or_read(bytes in bytes()) {
            if let Ok(record) = decode(&bytes) {
                prop_assert!(record.len <= bytes.len());
            }
        }
    }
}
