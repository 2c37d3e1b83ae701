//! Links between two endpoints of one process, over real sockets and both transports. One text of tests, compiled for each.

#![allow(clippy::duplicate_mod, reason = "the same tests for each transport")]

mod common;
#[path = "cases"]
mod budgets {
    #[path = "budgets.rs"]
    mod quic;
    #[path = "budgets.rs"]
    mod tcp;
}
#[path = "cases"]
mod causes {
    #[path = "causes.rs"]
    mod quic;
    #[path = "causes.rs"]
    mod tcp;
}
#[path = "cases"]
mod emulated {
    #[path = "emulated.rs"]
    mod quic;
    #[path = "emulated.rs"]
    mod tcp;
}
#[path = "cases/links.rs"]
mod quic;
#[path = "cases/links.rs"]
mod tcp;
