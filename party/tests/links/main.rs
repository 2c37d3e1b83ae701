//! Links between endpoints, over real sockets and both transports. What holds for each is one text of tests, compiled twice.

#![allow(clippy::duplicate_mod, reason = "the same tests for each transport")]

mod common;
mod crowd;
mod deadlines;
mod figures;
mod hello;
mod network;
mod returning;
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
#[path = "cases"]
mod links {
    #[path = "links.rs"]
    mod quic;
    #[path = "links.rs"]
    mod tcp;
}
#[path = "cases"]
mod pins {
    #[path = "pins.rs"]
    mod quic;
    #[path = "pins.rs"]
    mod tcp;
}
