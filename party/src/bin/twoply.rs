//! The command line; see `twoply_party::cli`.

fn main() -> std::process::ExitCode {
    twoply_party::cli::main()
}
