//! The memory of a process.

/// Resident bytes of this process, as the system counts them.
///
/// # Panics
/// Without `/proc`.
pub fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("a system with /proc");
    let pages = pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("the number of resident pages") * 4096
}
