//! Host half.
