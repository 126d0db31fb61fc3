//! The laws of the contract.

use gopherworks_pipeline::store::conformance::conformance;

use crate::support::OnDisk;

#[actix::test]
async fn it_keeps_all_laws() {
    let report = conformance(OnDisk::new).await;
    println!("{report}");
    report.assert();
    assert_eq!(report.skipped(), ["a_lost_lease_is_fenced"], "it is for one process at a time");
}
