//! Formats that leave the guest.
#![no_std]
