//! Gates of both parties in one process: against oracles and frozen vectors, and under faults.

#[path = "../common/mod.rs"]
mod common;
mod exact;
mod faults;
mod oracle;
mod pipeline;
mod vectors;
