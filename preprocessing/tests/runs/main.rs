//! Training runs: ledgers, checkpoints, rows that owners brought, and what crashes make of them.

mod brought;
mod checkpoints;
#[path = "../common/mod.rs"]
mod common;
mod doubt;
mod memory;
mod order;
mod rows;
mod rows_files;
mod run;
mod search;
mod trained;
mod training;
mod upload;
