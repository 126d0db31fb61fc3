//! Reads the text of a config file. Every wait is bounded, whatever is at its path.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::catalog::STANDARD_STREAM;

/// Largest config file, in bytes.
pub const LARGEST: u64 = 32 << 20;

/// Timeout of a pipe without data, in seconds.
#[cfg(unix)]
const SILENCE: i64 = 30;

/// What a config on standard input is called in messages.
pub(crate) const STDIN: &str = "<stdin>";

/// The text of a config.
pub(crate) struct Contents {
    pub text: String,
    /// True for a pipe or a system path such as `/dev/stdin`: relative paths start at the current
    /// folder.
    pub apart: bool,
}

/// The text of a config file without byte order mark, or why there is none. A pipe is read to its
/// end, so `<(...)` of a shell works; folders and devices are refused.
pub(crate) fn contents(path: &Path) -> Result<Contents, String> {
    let read = if path.as_os_str() == STANDARD_STREAM { standard_input() } else { bytes(path) };
    let (bytes, piped) = read.map_err(|error| format!("can't read the config file: {error}"))?;
    if bytes.len() as u64 > LARGEST {
        return Err(format!("a config file has at most {} MiB", LARGEST >> 20));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err("this is UTF-16: save it as UTF-8".into());
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(format!("this is not text: byte {at} is 0"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8")
    })?;
    let text = match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    };
    let apart = piped || path.starts_with("/dev") || path.starts_with("/proc");
    Ok(Contents { text, apart })
}

/// Recognises other formats in a text that is not TOML, and says what to do.
pub(super) fn foreign(path: &Path, text: &str) -> Option<String> {
    let start = text.trim_start();
    let ending = path.extension().and_then(|ending| ending.to_str());
    let yaml_line = |line: &str| {
        let key = line.split_once(": ").map_or(line.strip_suffix(':'), |(key, _)| Some(key));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        key.is_some_and(|key| !key.is_empty() && key.chars().all(plain))
    };
    let first = (start.lines()).find(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let what = if ending == Some("json") || start.starts_with('{') {
        "JSON"
    } else if matches!(ending, Some("yaml" | "yml"))
        || first.is_some_and(|line| line == "---" || yaml_line(line.trim_end()))
    {
        "YAML"
    } else {
        return None;
    };
    Some(format!(
        "this looks like {what}; a config is TOML, such as\n[piles.manuals]\n\
         source = {{ kind = \"generate\", books = 100 }}"
    ))
}

#[cfg(unix)]
fn bytes(path: &Path) -> io::Result<(Vec<u8>, bool)> {
    use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

    let file = File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_fifo() {
        return Ok((piped(&file)?, true));
    }
    let refuse = |what: &str| Err(io::Error::other(what.to_owned()));
    if kind.is_dir() {
        return refuse("this is a folder: name a file in it");
    }
    if !kind.is_file() {
        return refuse("this is a device: a config is a file or a pipe");
    }
    Ok((whole(&file)?, false))
}

/// All of standard input, which is a pipe, a socket or a file.
#[cfg(unix)]
fn standard_input() -> io::Result<(Vec<u8>, bool)> {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;

    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let kind = file.metadata()?.file_type();
    if kind.is_fifo() || kind.is_socket() {
        return Ok((piped(&file)?, true));
    }
    if !kind.is_file() {
        return Err(io::Error::other("standard input is no pipe and no file: write `- < FILE`"));
    }
    Ok((whole(&file)?, true))
}

#[cfg(not(unix))]
fn standard_input() -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok((bytes, true))
}

#[cfg(not(unix))]
fn bytes(path: &Path) -> io::Result<(Vec<u8>, bool)> {
    Ok((whole(&File::open(path)?)?, false))
}

fn whole(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a pipe up to one byte beyond the limit. Waiting for a writer or for data is bounded by
/// [`SILENCE`] and ended by signals.
#[cfg(unix)]
fn piped(mut file: &File) -> io::Result<Vec<u8>> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let mut bytes = Vec::new();
    let mut part = vec![0; 64 << 10];
    loop {
        let mut fds = [PollFd::new(file, PollFlags::IN)];
        let within = Timespec { tv_sec: SILENCE, tv_nsec: 0 };
        if poll(&mut fds, Some(&within))? == 0 {
            let message = format!("no process wrote to this pipe for {SILENCE} seconds");
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        match file.read(&mut part) {
            Ok(0) => return Ok(bytes),
            Ok(read) => bytes.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if bytes.len() as u64 > LARGEST {
            return Ok(bytes);
        }
    }
}
