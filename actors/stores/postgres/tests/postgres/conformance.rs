//! The laws of the contract.

use gopherworks_pipeline::store::conformance::conformance;

use crate::server::shared;
use crate::support::Schema;

#[actix::test]
async fn it_keeps_all_laws() {
    let Some(server) = shared("it_keeps_all_laws") else { return };
    let report = conformance(|| Schema::new(server)).await;
    println!("{report}");
    report.assert();
    // Marks of begun books; exclusive engines.
    assert_eq!(report.skipped(), ["a_commit_acts_on_its_own_arrivals"]);
}
