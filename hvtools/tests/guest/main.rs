//! Tests that boot machines. `cargo hv test` builds what they need and runs them one at a time; by itself `cargo test`
//! passes over them. Those that need a real BitVisor have it in their names and take it from `HV_BITVISOR_ELF`.

mod boot;
mod chaos;
mod devices;
mod faults;
mod loading;
mod matrix;
mod media;
mod memory;
mod network;
mod noise;
mod panic;
mod reboot;
mod results;
mod runs;
mod support;
mod table1;
mod traps;
mod usertests;
mod wire;
