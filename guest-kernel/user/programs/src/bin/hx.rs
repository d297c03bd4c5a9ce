//! Runs experiments.
fn main() {}
