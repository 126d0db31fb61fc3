//! How engines write books as bytes: numbers in LEB128, and strings behind their length.
//!
//! Stored bytes are input like any other: a [`Decoder`] checks them, and allocates nothing that
//! the bytes themselves do not pay for.

use bytes::Bytes;

use super::StoreError;
use crate::book::Headers;

/// Appends a number: 1 to 10 bytes.
pub fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends `bytes` behind their length.
pub fn put_part(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends the number of headers, then the name and the value of each.
pub fn put_headers(out: &mut Vec<u8>, headers: &Headers) {
    put_number(out, headers.len() as u64);
    for (name, value) in headers.iter() {
        put_part(out, name.as_bytes());
        put_part(out, value);
    }
}

/// Reads what the functions of this module have written.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    /// Reads from the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The error of bytes that can't be decoded.
    pub fn damaged() -> StoreError {
        StoreError::Corrupt("stored bytes can't be decoded".into())
    }

    /// Number of bytes read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// True if all bytes have been read.
    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Reads a byte.
    ///
    /// # Errors
    /// `Corrupt` at the end.
    pub fn byte(&mut self) -> Result<u8, StoreError> {
        let byte = *self.bytes.get(self.at).ok_or_else(Self::damaged)?;
        self.at += 1;
        Ok(byte)
    }

    /// Reads a number.
    ///
    /// # Errors
    /// `Corrupt` at the end, or if it has more than 64 bits.
    pub fn number(&mut self) -> Result<u64, StoreError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Self::damaged());
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Self::damaged())
    }

    /// Reads `len` bytes.
    ///
    /// # Errors
    /// `Corrupt` if there are fewer.
    pub fn take(&mut self, len: u64) -> Result<&'a [u8], StoreError> {
        let end = usize::try_from(len).ok().and_then(|len| self.at.checked_add(len));
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or_else(Self::damaged)?;
        self.at += taken.len();
        Ok(taken)
    }

    /// Reads bytes behind their length.
    ///
    /// # Errors
    /// `Corrupt` if there are fewer.
    pub fn part(&mut self) -> Result<&'a [u8], StoreError> {
        let len = self.number()?;
        self.take(len)
    }

    /// Reads text behind its length.
    ///
    /// # Errors
    /// `Corrupt` if there are fewer bytes, or if they are not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, StoreError> {
        std::str::from_utf8(self.part()?).map_err(|_| Self::damaged())
    }

    /// Reads headers; `own` copies a value, or shares its bytes.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn headers(&mut self, own: impl Fn(&'a [u8]) -> Bytes) -> Result<Headers, StoreError> {
        let mut headers = Headers::new();
        for _ in 0..self.number()? {
            let name = self.text()?;
            headers.set(name, own(self.part()?));
        }
        Ok(headers)
    }

    /// Passes over headers, without a check of their names.
    ///
    /// # Errors
    /// `Corrupt`.
    pub fn skip_headers(&mut self) -> Result<(), StoreError> {
        for _ in 0..2 * u128::from(self.number()?) {
            self.part()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..200)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_a_cut_is_found(
            numbers in prop::collection::vec((any::<u64>(), 0..64u32), 0..9),
            headers in prop::collection::btree_map(".{0,9}", bytes(), 0..4),
        ) {
            let mut written = Headers::new();
            for (name, value) in &headers {
                written.set(name.clone(), value.clone());
            }
            let mut out = Vec::new();
            put_headers(&mut out, &written);
            let skipped = out.len();
            numbers.iter().for_each(|(number, shift)| put_number(&mut out, number >> shift));
            let read = |bytes: &[u8]| -> Result<_, StoreError> {
                let mut decoder = Decoder::new(bytes);
                let headers = decoder.headers(|_| Bytes::new())?;
                let read = numbers.iter().map(|_| decoder.number()).collect::<Result<Vec<_>, _>>()?;
                Ok((headers.len(), read, decoder.is_at_end()))
            };
            let wanted: Vec<u64> = numbers.iter().map(|(number, shift)| number >> shift).collect();
            prop_assert_eq!(read(&out).unwrap(), (headers.len(), wanted, true));
            prop_assert_eq!(Decoder::new(&out).headers(Bytes::copy_from_slice).unwrap(), written);
            let mut decoder = Decoder::new(&out);
            decoder.skip_headers().unwrap();
            prop_assert_eq!(decoder.position(), skipped);
            for cut in 0..out.len() {
                prop_assert!(read(&out[..cut]).is_err(), "cut at {}", cut);
            }
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        let mut bytes = vec![0xff; 9];
        bytes.push(1);
        assert_eq!(Decoder::new(&bytes).number().unwrap(), u64::MAX);
        bytes[9] = 2;
        assert!(Decoder::new(&bytes).number().is_err());
        bytes[9] = 0x81;
        bytes.push(0);
        assert!(Decoder::new(&bytes).number().is_err());
    }
}
