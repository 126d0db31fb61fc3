//! The store on real files: the laws of the contract, kills, full disks, damage.

mod check;
mod conformance;
mod full;
mod kill;
mod model;
mod places;
mod support;
mod versions;
