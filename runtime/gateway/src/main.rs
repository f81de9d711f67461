//! The gateway's binary; everything is in the library beside it.

fn main() -> std::process::ExitCode {
    tidegate::main()
}
