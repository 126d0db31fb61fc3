//! Journal file with one record per line: each append is a single write, and compaction replaces
//! the whole file.
//!
//! Every record ends with ` .`, which escaped fields can't contain, so a record truncated by a
//! crash is detected and skipped.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use parking_lot::Mutex;

use super::own::Own;

const END: &[u8] = b" .";

/// A journal in the run's `.gopherworks` folder; the first append creates the file.
#[derive(Debug)]
pub(super) struct Journal {
    own: Arc<Own>,
    name: String,
    // If the last line may be truncated, the next record starts on a new line.
    torn: Mutex<bool>,
}

impl Journal {
    /// Opens the journal `name`; reads its last byte to detect a truncated record.
    pub(super) fn open(own: Arc<Own>, name: String) -> io::Result<Self> {
        let torn = match own.read(&name)? {
            Some(mut file) => ends_torn(&mut file)?,
            None => false,
        };
        Ok(Self { own, name, torn: Mutex::new(torn) })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn own(&self) -> &Arc<Own> {
        &self.own
    }

    /// Appends lines made by [`push_record`] with one write; syncs the file if `durable`.
    pub(super) fn append(&self, lines: &[u8], durable: bool) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut torn = self.torn.lock();
        // Opened for each call: if another instance has replaced the file, records go to the new
        // one.
        let mut file = self.own.append(&self.name)?;
        let written =
            if *torn { file.write_all(&[b"\n", lines].concat()) } else { file.write_all(lines) };
        *torn = written.is_err();
        written?;
        if durable { file.sync_data() } else { Ok(()) }
    }

    /// Calls `each` with the offset and fields of every complete record, oldest first.
    pub(super) fn read(&self, each: impl FnMut(u64, &[&[u8]]) -> io::Result<()>) -> io::Result<()> {
        read(&self.own, &self.name, each)
    }

    /// Replaces the journal atomically and durably with what `write` writes.
    pub(super) fn replace(
        &self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut torn = self.torn.lock();
        self.own.replace(&self.name, |file| {
            let mut buffered = BufWriter::with_capacity(64 * 1024, file);
            write(&mut buffered)?;
            buffered.flush()
        })?;
        *torn = false;
        Ok(())
    }
}

/// Reads the journal `name`; a missing file counts as empty.
pub(super) fn read(
    own: &Own,
    name: &str,
    mut each: impl FnMut(u64, &[&[u8]]) -> io::Result<()>,
) -> io::Result<()> {
    let Some(file) = own.read(name)? else {
        return Ok(());
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
        if let Some(fields) = fields(&line) {
            each(offset, &fields)?;
        }
        offset += length as u64;
    }
}

/// Splits a line, with or without its newline, into fields; `None` if the record is truncated.
pub(super) fn fields(line: &[u8]) -> Option<Vec<&[u8]>> {
    let record = line.strip_suffix(b"\n").unwrap_or(line).strip_suffix(END)?;
    Some(record.split(|byte| *byte == b' ').collect())
}

pub(super) fn line_at(file: &File, offset: u64) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let mut line = Vec::new();
    let mut piece = [0; 512];
    loop {
        let length = match file.read_at(&mut piece, offset + line.len() as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let found = piece[..length].iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&piece[..found.unwrap_or(length)]);
        if found.is_some() || length == 0 {
            return Ok(line);
        }
    }
}

/// Appends one record to `lines`; fields must not contain spaces or newlines.
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

    fn own(folder: &tempfile::TempDir) -> Arc<Own> {
        Arc::new(Own::make(folder.path()).unwrap())
    }

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
        let own = own(&folder);
        let open = || Journal::open(own.clone(), "journal".to_owned()).unwrap();
        let whole = record(&["1", "second", ""]);
        // A record is complete even without its newline.
        for cut in 0..whole.len() - 1 {
            let _ = std::fs::remove_file(own.path().join("journal"));
            let journal = open();
            journal.append(&record(&["0", "first", "x"]), false).unwrap();
            journal.append(&whole[..cut], false).unwrap();
            let journal = open();
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
        let own = own(&folder);
        let open = || Journal::open(own.clone(), "journal".to_owned()).unwrap();
        let old = open();
        old.append(&record(&["a"]), false).unwrap();
        let new = open();
        new.replace(|out| out.write_all(&record(&["b"]))).unwrap();
        old.append(&record(&["c"]), false).unwrap();
        assert_eq!(records(&new), [["b"], ["c"]]);
    }

    #[test]
    fn a_failing_replacement_leaves_the_old_journal() {
        let folder = tempfile::tempdir().unwrap();
        let own = own(&folder);
        let journal = Journal::open(own.clone(), "journal".to_owned()).unwrap();
        journal.append(&record(&["a"]), false).unwrap();
        let refused = journal.replace(|out| {
            out.write_all(&record(&["b"]))?;
            Err(io::Error::other("no"))
        });
        assert!(refused.is_err());
        assert_eq!(records(&journal), [["a"]]);
        assert_eq!(own.names().unwrap(), ["journal"]);
    }
}
