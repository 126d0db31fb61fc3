//! Minimises a failing set of faults by delta debugging (Zeller and Hildebrandt, "Simplifying and
//! Isolating Failure-Inducing Input", 2002): remove halves, then quarters, and so on, and keep
//! whatever still fails, until no single fault can be removed.

/// The smallest part of `all` found that still `fails`; `None` if `all` does not fail. Calls
/// `fails` at most `most` times.
pub fn minimise<T: Clone>(
    all: &[T],
    most: usize,
    mut fails: impl FnMut(&[T]) -> bool,
) -> Option<Vec<T>> {
    let mut asked = 1;
    if !fails(all) {
        return None;
    }
    asked += 1;
    if fails(&[]) {
        return Some(Vec::new());
    }
    let mut kept = all.to_vec();
    let mut parts = 2;
    while kept.len() > 1 && asked < most {
        let size = kept.len().div_ceil(parts);
        let mut smaller = None;
        for start in (0..kept.len()).step_by(size) {
            let rest: Vec<T> = (kept.iter().enumerate())
                .filter(|(at, _)| !(start..start + size).contains(at))
                .map(|(_, fault)| fault.clone())
                .collect();
            if rest.is_empty() {
                continue;
            }
            asked += 1;
            if fails(&rest) {
                smaller = Some(rest);
                break;
            }
            if asked >= most {
                break;
            }
        }
        match smaller {
            Some(rest) => {
                kept = rest;
                parts = parts.saturating_sub(1).max(2);
            }
            None if parts >= kept.len() => break,
            None => parts = (parts * 2).min(kept.len()),
        }
    }
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_pair_that_fails_and_nothing_else() {
        let all: Vec<u32> = (0..40).collect();
        let mut asked = 0;
        let least = minimise(&all, 1_000, |some| {
            asked += 1;
            some.contains(&7) && some.contains(&31)
        });
        assert_eq!(least, Some(vec![7, 31]));
        assert!(asked < 100, "{asked}");
    }

    #[test]
    fn finds_one_of_many_in_few_steps() {
        let all: Vec<u32> = (0..40).collect();
        let mut asked = 0;
        let least = minimise(&all, 1_000, |some| {
            asked += 1;
            some.contains(&13)
        });
        assert_eq!(least, Some(vec![13]));
        assert!(asked <= 20, "{asked}");
    }

    #[test]
    fn a_failure_without_faults_needs_none_and_no_failure_gives_none() {
        assert_eq!(minimise(&[1, 2], 10, |_| true), Some(vec![]));
        assert_eq!(minimise(&[1, 2], 10, |_| false), None);
    }
}
