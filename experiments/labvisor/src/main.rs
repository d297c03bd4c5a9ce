//! The reference hypervisor.
fn main() {}
