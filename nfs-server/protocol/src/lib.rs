//! SNFS wire format.
#![no_std]
