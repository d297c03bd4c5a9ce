//! Script API.
#![no_std]
