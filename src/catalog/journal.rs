//! A file of records, one a line: appended to with one write a call, replaced as a whole when it is compacted.
//!
//! Every record ends with ` .`, which escaped fields can't contain; so the part of a record that a crash left behind is
//! told from a whole one and skipped.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const END: &[u8] = b" .";

/// A journal at a path; the file comes into being with its first record.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    // True where the last line may be torn: the next record then starts on a line of its own.
    torn: Mutex<bool>,
}

impl Journal {
    /// The journal at `path`; looks at its last byte.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        let torn = match File::open(&path) {
            Ok(mut file) => ends_torn(&mut file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        Ok(Self {
            path,
            torn: Mutex::new(torn),
        })
    }

    /// Appends lines made by [`push_record`] with one write, and syncs them if `durable`.
    pub(super) fn append(&self, lines: &[u8], durable: bool) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut torn = self.torn.lock().unwrap_or_else(PoisonError::into_inner);
        // Opened for each call: after another instance has replaced the file, records go to the new one.
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        let mut file = match options.open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(self.folder())?;
                options.open(&self.path)?
            }
            other => other?,
        };
        let written = if *torn {
            file.write_all(&[b"\n", lines].concat())
        } else {
            file.write_all(lines)
        };
        *torn = written.is_err();
        written?;
        if durable { file.sync_data() } else { Ok(()) }
    }

    /// Calls `each` with the offset and the fields of every whole record, oldest first.
    pub(super) fn read(&self, each: impl FnMut(u64, &[&[u8]]) -> io::Result<()>) -> io::Result<()> {
        read(&self.path, each)
    }

    /// Replaces the journal by what `write` writes, durably: after a crash there is the old or the new one.
    pub(super) fn replace(
        &self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut torn = self.torn.lock().unwrap_or_else(PoisonError::into_inner);
        std::fs::create_dir_all(self.folder())?;
        let fresh = tempfile::NamedTempFile::new_in(self.folder())?;
        let mut buffered = BufWriter::with_capacity(64 * 1024, fresh);
        write(&mut buffered)?;
        let fresh = buffered
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        fresh.as_file().sync_all()?;
        fresh.persist(&self.path).map_err(|refused| refused.error)?;
        *torn = false;
        File::open(self.folder())?.sync_all()
    }

    fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }
}

/// Reads the journal at `path`; a file that is not there is an empty one.
pub(super) fn read(
    path: &Path,
    mut each: impl FnMut(u64, &[&[u8]]) -> io::Result<()>,
) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let mut line = Vec::new();
    let mut offset = 0;
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        if length == 0 {
            return Ok(());
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        if let Some(record) = text.strip_suffix(END) {
            let fields: Vec<&[u8]> = record.split(|byte| *byte == b' ').collect();
            each(offset, &fields)?;
        }
        offset += length as u64;
    }
}

/// Adds one record to `lines`; fields must not contain spaces or newlines.
pub(super) fn push_record(lines: &mut Vec<u8>, fields: &[&[u8]]) {
    for (position, field) in fields.iter().enumerate() {
        if position > 0 {
            lines.push(b' ');
        }
        lines.extend_from_slice(field);
    }
    lines.extend_from_slice(END);
    lines.push(b'\n');
}

fn ends_torn(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(journal: &Journal) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        let text = |field: &&[u8]| String::from_utf8(field.to_vec()).unwrap();
        journal
            .read(|_, fields| {
                all.push(fields.iter().map(text).collect());
                Ok(())
            })
            .unwrap();
        all
    }

    fn record(fields: &[&str]) -> Vec<u8> {
        let mut lines = Vec::new();
        let fields: Vec<&[u8]> = fields.iter().map(|field| field.as_bytes()).collect();
        push_record(&mut lines, &fields);
        lines
    }

    #[test]
    fn a_torn_tail_is_skipped_wherever_the_tear_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/journal");
        let whole = record(&["1", "second", ""]);
        // The newline is not part of what makes a record whole.
        for cut in 0..whole.len() - 1 {
            let _ = std::fs::remove_file(&path);
            let journal = Journal::open(path.clone()).unwrap();
            journal
                .append(&record(&["0", "first", "x"]), false)
                .unwrap();
            journal.append(&whole[..cut], false).unwrap();
            let journal = Journal::open(path.clone()).unwrap();
            journal.append(&record(&["2", "third", "z"]), true).unwrap();
            assert_eq!(
                records(&journal),
                [["0", "first", "x"], ["2", "third", "z"]],
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn an_instance_from_before_a_replacement_writes_to_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let old = Journal::open(path.clone()).unwrap();
        old.append(&record(&["a"]), false).unwrap();
        let new = Journal::open(path).unwrap();
        new.replace(|out| out.write_all(&record(&["b"]))).unwrap();
        old.append(&record(&["c"]), false).unwrap();
        assert_eq!(records(&new), [["b"], ["c"]]);
    }

    #[test]
    fn a_failing_replacement_leaves_the_old_journal() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path().join("journal")).unwrap();
        journal.append(&record(&["a"]), false).unwrap();
        let refused = journal.replace(|out| {
            out.write_all(&record(&["b"]))?;
            Err(io::Error::other("no"))
        });
        assert!(refused.is_err());
        assert_eq!(records(&journal), [["a"]]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
