//! hv.
fn main() {}
