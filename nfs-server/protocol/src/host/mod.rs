//! The host's client: [`Session`] drives [`crate::client::Client`] over a TCP socket, [`Files`] works
//! with paths on top of it.
//!
//! ```no_run
//! use protocol::host::{Files, Options};
//! let mut files = Files::connect(Options::new("127.0.0.1:7049".parse()?, b"token-of-the-server"))?;
//! for entry in files.list("runs/2026-11-23")? {
//!     println!("{} {}", entry.stat.size, entry.name);
//! }
//! files.get("catalogue/exit-cost.rhai", &mut std::io::stdout(), &mut |_, _| {})?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod files;
mod session;
mod transfer;
mod url;
mod written;

pub use files::{Files, Followed, Item};
pub use session::{Error, Link, Options, Session, random};
pub use url::Url;
