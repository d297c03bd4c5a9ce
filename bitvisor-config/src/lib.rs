//! BitVisor configuration.
