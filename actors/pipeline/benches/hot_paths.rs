//! Duration of the hot paths: `cargo bench -p gopherworks-pipeline --bench hot_paths`. Each sample
//! is 6,400 operations, so that the start of a runtime, where one is needed, is negligible.

mod cases;

use divan::Bencher;
use divan::counter::ItemsCount;

const OPERATIONS: u64 = 6_400;

fn main() {
    divan::main();
}

fn all() -> impl Iterator<Item = &'static cases::Case> {
    cases::CASES.iter().chain(cases::TIMED)
}

#[divan::bench(args = all().map(|(name, _)| *name))]
fn hot_path(bencher: Bencher<'_, '_>, name: &str) {
    let (_, case) = all().find(|(known, _)| *known == name).expect("one of them");
    bencher.counter(ItemsCount::new(OPERATIONS)).bench(|| case(OPERATIONS));
}
