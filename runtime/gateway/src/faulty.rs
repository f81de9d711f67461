//! A gateway that breaks a promise when `TIDEGATE_FAULT` says so: the negative control of the product's tests.

fn main() -> std::process::ExitCode {
    tidegate::main()
}
