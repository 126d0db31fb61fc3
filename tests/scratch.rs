use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use gopherworks::actors::book::Book;
use gopherworks::actors::burn::Burn;
use gopherworks::actors::failure::Failure;
use gopherworks::actors::source::Source;
use gopherworks::actors::gopher::steps::*;
use gopherworks::catalog::*;
use gopherworks::config::schema::*;
use gopherworks::plan::*;
use gopherworks::topology::*;
struct Gen(u64);
impl Source for Gen {
    fn next(&mut self, want: usize) -> Result<Option<Vec<Book>>, Failure> {
        if self.0 == 0 { return Ok(None) }
        let n = self.0.min(want as u64);
        self.0 -= n;
        Ok(Some((0..n).map(|_| Book::new(&b"hello"[..])).collect()))
    }
    fn blocks(&self) -> bool { false }
}
struct Count(Arc<AtomicU64>);
impl Burn for Count {
    fn burn(&self, _: &Book) -> Result<(), Failure> { self.0.fetch_add(1, Ordering::Relaxed); Ok(()) }
    fn blocks(&self) -> bool { false }
}
fn plan(n: u64, cart: usize, dump: u64, placement: Placement, burned: Arc<AtomicU64>) -> Plan {
    let crew = |name: &str, from, to| CrewPlan { name: name.into(), from, to, gophers: vec![Duties::ALL], carts: 1, cart_books: cart, cart_bytes: None, work: None, steps: StepTimes::default() };
    Plan { name: "t".into(),
        piles: vec![
          PilePlan { name: "a".into(), dump: false, source: Some(Factory::new(move |_| Ok(Box::new(Gen(n)) as Box<dyn Source>))), capacity: Capacity{books: Some(4096), bytes: None}, exclusive: Exclusive::default(), max_attempts: 3 },
          PilePlan { name: "d".into(), dump: true, source: None, capacity: Capacity{books: Some(dump), bytes: None}, exclusive: Exclusive::default(), max_attempts: 3 }],
        incinerators: vec![IncineratorPlan { name: "f".into(), burn: Factory::new(move |_| Ok(Box::new(Count(burned.clone())) as Box<dyn Burn>)), exclusive: Exclusive::default() }],
        crews: vec![crew("near", 0, Target::Dump(1)), crew("far", 1, Target::Incinerator(0))],
        execution: ExecutionPlan { cores: 2, placement, seed: 1, scratch: std::env::temp_dir(), drain_deadline: None },
        supervision: SupervisionPlan { strategy: StrategyConfig::OneForOne, intensity: 5, period: Duration::from_secs(10), in_a_row: 10, backoff: BackoffConfig::default(), shutdown: Duration::from_secs(5) },
    }
}
#[test]
fn runs() {
    for (n, cart, dump, placement) in [(1_000_000, 64, 128, Placement::Together), (200_000, 1, 1, Placement::Together), (20_000, 1, 1, Placement::Spread), (200_000, 64, 64, Placement::Spread)] {
        let burned = Arc::new(AtomicU64::new(0));
        let p = plan(n, cart, dump, placement, burned.clone());
        let report = actix_rt::System::new().block_on(async move { Topology::from_plan(p).run().await.unwrap() });
        println!("{:?} {cart} {dump} wall {} books/s {} {:?} {:?}", placement, report.wall_s, report.books_per_s, report.ledger, report.outcome);
        for n in &report.nodes { println!("  {n:?}"); }
        assert!(report.ledger.balances());
        assert_eq!(report.ledger.burned, n);
    }
}
