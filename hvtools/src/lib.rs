//! `hv`, the command line of HvLab: builds the guest, boots it, runs the experiments, shows what happened.

pub mod build;
pub mod catalogue;
pub mod cli;
pub mod debug;
pub mod disk;
pub mod doctor;
pub mod fs;
pub mod fsck;
pub mod grub;
pub mod guest;
pub mod image;
pub mod interrupt;
pub mod matrix;
pub mod media;
pub mod monitor;
pub mod needs;
pub mod network;
pub mod pcapng;
pub mod run;
pub mod service;
pub mod shell;
pub mod symbols;
pub mod testing;
pub mod trace;
pub mod virtualisation;
pub mod workspace;
