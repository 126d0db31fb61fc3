//! The laws of the contract.

use gopherworks_pipeline::store::conformance::conformance;

use crate::server::server;
use crate::support::OnServer;

#[actix::test]
async fn it_keeps_all_laws() {
    let Some(url) = server() else { return };
    let report = conformance(|| OnServer::new(url)).await;
    println!("{report}");
    report.assert();
    let skipped = [
        // It is for exclusive engines, and what is not promised is not checked.
        "what_was_begun_is_charged",
        "a_dropped_commit_is_whole",
        "a_commit_acts_on_its_own_arrivals",
        "arrivals_keep_their_order",
        "a_returned_book_regains_its_place",
        "settling_twice_changes_nothing",
        "a_lost_lease_is_fenced",
        "the_account_balances",
        "depths_are_true",
        "a_survey_changes_nothing",
    ];
    assert_eq!(report.skipped(), skipped);
}
