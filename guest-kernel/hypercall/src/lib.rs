//! Hypercalls.
#![no_std]
