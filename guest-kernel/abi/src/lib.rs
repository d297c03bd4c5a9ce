//! The contract between kernel and user programs.
#![no_std]
