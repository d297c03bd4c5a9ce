//! On-disk format.
#![no_std]
