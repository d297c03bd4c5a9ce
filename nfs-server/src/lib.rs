//! The SNFS server: exports and the hub of every run.
//!
//! The way of a request: [`connection`] reads frames and keeps the limits, [`serve`] finds the
//! request's turn in its [`session`] and carries it out, [`export`] is the only place that touches
//! files, [`journal`] writes down what must survive `kill -9`, [`follow`] pushes what grew. After a
//! restart [`recover`] makes the sessions again.

pub mod config;
pub mod connection;
pub mod counters;
pub mod export;
pub mod follow;
pub mod inodes;
pub mod journal;
pub mod metrics;
pub mod recover;
pub mod refuse;
pub mod serve;
pub mod server;
pub mod session;

pub use config::{Config, ExportConfig, Limits, Security};
pub use server::{Server, Stop};
