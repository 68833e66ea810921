//! The `hongyan` program.

fn main() -> std::process::ExitCode {
    hongyan::cli::main()
}
