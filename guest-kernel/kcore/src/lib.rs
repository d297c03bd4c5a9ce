//! Pure algorithms.
#![no_std]
