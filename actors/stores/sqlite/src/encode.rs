//! How books are stored in packs. A record is: the headers; the length of the body, doubled, plus 1
//! if the body is a file; then the body, or the name of its file.

use bytes::Bytes;
use gopherworks_pipeline::book::Headers;
use gopherworks_pipeline::store::StoreError;
use gopherworks_pipeline::store::encoding::{Decoder, put_headers, put_number, put_part};

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

/// Appends a record to `out`.
pub(crate) fn encode(out: &mut Vec<u8>, headers: &Headers, body: &StoredBody) {
    put_headers(out, headers);
    match body {
        StoredBody::Inline(bytes) => {
            put_number(out, (bytes.len() as u64) << 1);
            out.extend_from_slice(bytes);
        }
        StoredBody::File { name, size } => {
            put_number(out, size << 1 | 1);
            put_part(out, name.as_bytes());
        }
    }
}

/// Decodes the record that `bytes` begin with. Copies, so that a book keeps no pack in memory.
///
/// # Errors
/// `Corrupt`.
pub(crate) fn decode(bytes: &[u8]) -> Result<Record, StoreError> {
    let mut decoder = Decoder::new(bytes);
    let headers = decoder.headers(Bytes::copy_from_slice)?;
    let kind = decoder.number()?;
    let size = kind >> 1;
    let body = match kind & 1 {
        0 => StoredBody::Inline(Bytes::copy_from_slice(decoder.take(size)?)),
        _ => StoredBody::File { name: decoder.text()?.to_owned(), size },
    };
    Ok(Record { headers, body, len: decoder.position() })
}

/// Length of the record that `bytes` begin with.
///
/// # Errors
/// `Corrupt`.
pub(crate) fn skip(bytes: &[u8]) -> Result<usize, StoreError> {
    let mut decoder = Decoder::new(bytes);
    decoder.skip_headers()?;
    match decoder.number()? {
        kind if kind & 1 == 0 => decoder.take(kind >> 1)?,
        _ => decoder.part()?,
    };
    Ok(decoder.position())
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
