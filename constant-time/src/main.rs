//! No branch and no address depends on a share, key or mask: checked on release code by valgrind's memcheck, to which
//! secrets are marked as undefined, so that it reports what is decided by them (after A. Langley's ctgrind).
//!
//! Seeds, stream keys, alpha and operands' mask shares are secret, and with them all that is computed from them; masked
//! values and the tile's hash key are public. Results are declared public before they are checked. Valgrind knows no
//! AVX-512: what runs here are the portable and the AES-NI rungs. Leaks planted at the end must be reported.
//!
//! Run by `run.sh`. A gate's second opening depends on its first, which is public and yet computed from a secret share,
//! so gates that compare what they have opened themselves (MaxPool, Argmax) are not among the cases; their steps are.

mod cases;
mod gates;
mod valgrind;

use std::process::ExitCode;
use twoply_primitives::backend::Isa;

/// Runs one case; whether it went as it should.
fn case(what: &str, isa: Isa, leaks: bool, f: impl FnOnce()) -> bool {
    let before = valgrind::errors();
    f();
    let found = valgrind::errors() - before;
    let right = (found > 0) == leaks;
    let verdict = match (right, leaks) {
        (true, false) => "no secret decides anything",
        (true, true) => "caught, as it should be",
        (false, false) => "A SECRET DECIDES A BRANCH OR AN ADDRESS",
        (false, true) => "A PLANTED LEAK WAS NOT CAUGHT",
    };
    eprintln!("{:9} {what:34} {verdict}", isa.name());
    right
}

fn main() -> ExitCode {
    if !valgrind::running() {
        eprintln!("not under valgrind: run constant-time/run.sh");
        return ExitCode::FAILURE;
    }
    let mut right = true;
    for isa in Isa::here() {
        Isa::force(isa);
        let mut run = |what: &str, leaks, f: &dyn Fn(Isa)| right &= case(what, isa, leaks, || f(isa));
        run("expansion", false, &cases::expansion);
        run("point functions", false, &cases::point_functions);
        run("digit tables", false, &cases::digit_tables);
        run("ReLU, point functions", false, &|_| gates::relu(twoply_primitives::compare::Scheme::Dpf));
        run("ReLU, digits", false, &|_| gates::relu(twoply_primitives::compare::Scheme::Digits));
        run("ReLU with floor, point functions", false, &|_| {
            gates::relu_floor(twoply_primitives::compare::Scheme::Dpf);
        });
        run("ReLU with floor, digits", false, &|_| {
            gates::relu_floor(twoply_primitives::compare::Scheme::Digits);
        });
        run("audit, point functions", false, &|_| gates::audit(twoply_primitives::compare::Scheme::Dpf));
        run("audit, digits", false, &|_| gates::audit(twoply_primitives::compare::Scheme::Digits));
        run("staircase, point functions", false, &|_| {
            gates::staircase(twoply_primitives::compare::Scheme::Dpf);
        });
        run("staircase, digits", false, &|_| {
            gates::staircase(twoply_primitives::compare::Scheme::Digits);
        });
        run("tables", false, &|_| gates::table());
        run("truncation, lift", false, &|_| gates::truncate_and_lift());
        run("products", false, &|_| gates::products());
        run("sums", false, &|_| gates::sums());
        run("planted: a branch", true, &|_| cases::planted_branch());
        run("planted: a table's index", true, &|_| cases::planted_index());
    }
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
