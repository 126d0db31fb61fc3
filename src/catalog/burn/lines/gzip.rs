//! Gzip files that are appended to: each cart is a member of its own.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

/// Compresses the lines of a cart as one member, without a time or a name.
pub(super) fn member(lines: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(lines)?;
    encoder.finish()
}

/// Length in bytes of the whole members at the start of `file`; what follows is a torn one.
pub(super) fn whole(file: &File) -> io::Result<u64> {
    let mut file = io::BufReader::new(file);
    file.seek(SeekFrom::Start(0))?;
    let mut good = 0;
    let mut buffer = vec![0; 64 * 1024];
    while let [_, ..] = io::BufRead::fill_buf(&mut file)? {
        let mut decoder = GzDecoder::new(&mut file);
        loop {
            match decoder.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // An error of the device is not a torn member.
                Err(error) if error.raw_os_error().is_some() => return Err(error),
                Err(_) => return Ok(good),
            }
        }
        good = file.stream_position()?;
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_member_is_found_wherever_it_is_torn() {
        let (first, second) = (member(b"one\n").unwrap(), member(b"two\n").unwrap());
        for torn in 0..second.len() {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&[&first[..], &second[..torn]].concat()).unwrap();
            assert_eq!(whole(&file).unwrap(), first.len() as u64, "{torn}");
        }
        let mut file = tempfile::tempfile().unwrap();
        assert_eq!(whole(&file).unwrap(), 0);
        file.write_all(&[&first[..], &second[..]].concat()).unwrap();
        assert_eq!(whole(&file).unwrap(), (first.len() + second.len()) as u64);
    }
}
