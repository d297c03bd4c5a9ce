//! BitVisor's configuration: reads what a source tree offers, applies a profile, checks a build.
//!
//! A tree has two configurations. Build options stand in `.config`, described by `Kconfig`
//! ([`kconfig`], [`dotconfig`], [`plan`]); runtime settings are a C initialiser in `defconfig`, compiled
//! in ([`initialiser`]). A [`profile`] names what it wants of both; [`edit`] computes the new texts, shows
//! them, and writes them only when told to, with a backup. [`check`] says what a tree or a finished
//! `bitvisor.elf` offers a guest.
//!
//! ```
//! use bitvisor_config::kconfig::Kconfig;
//! let kconfig = Kconfig::parse("config STATUS\n\tbool\n\tprompt \"get_status\"\n", &|_| None)?;
//! assert_eq!(kconfig.symbol("STATUS").map(|symbol| symbol.prompt.as_deref()), Some(Some("get_status")));
//! # Ok::<(), bitvisor_config::kconfig::ParseError>(())
//! ```
#![forbid(unsafe_code)]

pub mod before_kconfig;
pub mod check;
pub mod cli;
pub mod dotconfig;
pub mod edit;
pub mod expression;
pub mod grub;
pub mod initialiser;
pub mod kconfig;
pub mod plan;
pub mod profile;
