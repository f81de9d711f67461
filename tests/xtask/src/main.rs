//! Set-up, demo, tests and benches of the whole product.
fn main() {}
