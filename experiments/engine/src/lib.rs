//! Script API and verdicts of the experiments: the half that runs in the guest.
//!
//! A script (Rhai) states a claim in its head, probes the machine, and ends in a verdict. The engine
//! knows the machine only through [`Guest`]: `hx` implements it with system calls, the fake machine
//! (feature `fake`) with a model for dry runs.
//!
//! ```
//! # #[cfg(feature = "fake")] {
//! use engine::{Job, fake::Fake, run};
//!
//! let source = "//! title: CPUID answers\n//! group: cpuid-msr\n//! claim: Leaf 0 names a vendor.\n\
//!     //! mechanism: Leaf 0.\n//! sound: A leaf.\n//! weak: None.\n//! cannot_tell: Who answers.\n\
//!     //! risk: safe\n//! without_hypervisor: run\n//! time_limit: 5 s\n//! source: APM volume 3\n\
//!     expect(\"a leaf\", cpuid(0).rax > 0);";
//! let job = Job { file: "x.rhai", source, parameters: Default::default(), seed: 1, time_limit_s: 0 };
//! let report = run(Box::new(Fake::labvisor()), &job);
//! assert_eq!((report.verdict.word(), report.reason.as_str()), ("PASS", "1 checks held"));
//! # }
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod api;
pub mod asm;
#[cfg(feature = "fake")]
pub mod fake;
pub mod guest;
pub mod head;
pub mod plan;
pub mod random;
pub mod report;
mod run;
mod session;
pub mod stats;
#[cfg(all(test, feature = "fake"))]
mod tests;

pub use api::Entry;
pub use guest::Guest;
pub use head::{Head, Need, Param, Risk, WithoutHypervisor};
pub use report::Report;
pub use run::{Job, compile, reference, run};
