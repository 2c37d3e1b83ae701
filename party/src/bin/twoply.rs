//! The command line; see `twoply_party::cli`.

/// Every wave of tiles takes and leaves buffers of some hundred kilobytes, which the C library's allocator gives back to
/// the system and faults in again: a third of a gate's time (bench/README.md).
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    twoply_party::cli::main()
}
