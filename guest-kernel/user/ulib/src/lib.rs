//! A small std.
#![no_std]
