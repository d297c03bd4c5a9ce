//! The monitor: shows runs live on a terminal, fed by a server over the network, by a file, or by a demo.
//!
//! ```no_run
//! use monitor_ui::{Options, Runs};
//! // The newest run of a server, until `q`.
//! let options = Options::server("127.0.0.1:7049".parse()?, "the server's token", Runs::Latest);
//! monitor_ui::run(options)?;
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! [`model`] knows everything and changes only by messages, time included; [`view`] draws it and changes
//! nothing; [`source`] brings the data through a bounded queue. What text came from a guest, a
//! hypervisor or a script is escaped before anything shows it.

pub mod command;
pub mod feed;
mod keyboard;
pub mod model;
pub mod report;
mod screen;
pub mod source;
mod terminal;
pub mod theme;
pub mod view;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::Receiver;

use anyhow::{Result, bail};

use model::Model;
use protocol::noise::Key;
use report::Form;
use source::Source;
use theme::{Depth, Theme};

/// Which runs of a server to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Runs {
    /// The newest, and any newer one that appears.
    Latest,
    /// All, the newest on the screen; of very many the oldest are left out, and that is said.
    All,
    /// These ids.
    Named(Vec<String>),
}

/// What lets a client in.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The token of a server in plain mode.
    Token(Vec<u8>),
    /// The key of a server in noise mode.
    Key(Key),
}

/// Where the data comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum From {
    /// A server.
    Server {
        /// Its address.
        address: SocketAddr,
        /// What lets us in.
        secret: Secret,
        /// Which runs.
        runs: Runs,
    },
    /// A run folder, a boot's folder, or one of their files.
    File(PathBuf),
    /// Nothing but imagination.
    Demo,
}

/// Where the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The terminal, until `q`.
    Screen,
    /// Text on standard output, until the run ended.
    Text,
    /// CSV of the records on standard output, until the run ended.
    Csv,
    /// JSON lines on standard output, until the run ended.
    Json,
}

/// What to show and how.
pub struct Options {
    /// Where the data comes from.
    pub from: From,
    /// Where it goes.
    pub output: Output,
    /// Colours of the terminal; asked of the environment if nothing is said.
    pub colour: Option<Depth>,
    /// ASCII only; asked of the locale if nothing is said.
    pub ascii: Option<bool>,
    /// Set by the caller to end the monitor.
    pub stop: Option<Arc<AtomicBool>>,
    /// Lines of the caller's, shown in the overview while the terminal is ours.
    pub notes: Option<Receiver<String>>,
}

impl Options {
    fn new(from: From) -> Self {
        Self {
            from,
            output: Output::Screen,
            colour: None,
            ascii: None,
            stop: None,
            notes: None,
        }
    }

    /// Runs of a server.
    pub fn server(address: SocketAddr, token: impl Into<Vec<u8>>, runs: Runs) -> Self {
        let secret = Secret::Token(token.into());
        Self::new(From::Server {
            address,
            secret,
            runs,
        })
    }

    /// Runs of a server in noise mode.
    pub fn server_with_key(address: SocketAddr, key: Key, runs: Runs) -> Self {
        let secret = Secret::Key(key);
        Self::new(From::Server {
            address,
            secret,
            runs,
        })
    }

    /// A run folder, a boot's folder, or one of their files.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::new(From::File(path.into()))
    }

    /// The demo.
    pub fn demo() -> Self {
        Self::new(From::Demo)
    }
}

/// Shows runs until it is ended: by `q` or Ctrl-C, by a signal, by [`Options::stop`]; without a screen
/// also by the end of the run.
///
/// # Errors
/// When the terminal or the file cannot be used, or, without a screen, when the server refuses us.
pub fn run(options: Options) -> Result<()> {
    let (name, source) = start(options.from)?;
    let model = Model::new(&name);
    let stop = options.stop.as_deref();
    let notes = options.notes.as_ref();
    let form = match options.output {
        Output::Screen => {
            let variable = |name: &str| std::env::var(name).ok();
            let depth = options.colour.unwrap_or_else(|| Depth::detect(variable));
            let ascii = options
                .ascii
                .unwrap_or_else(|| Theme::detect_ascii(variable));
            let theme = Theme::new(depth, ascii);
            return screen::show(model, &source, &theme, stop, notes);
        }
        Output::Text => Form::Text,
        Output::Csv => Form::Csv,
        Output::Json => Form::Json,
    };
    report::print(model, &source, form, stop, notes)
}

/// Starts the source and names it for the title.
fn start(from: From) -> Result<(String, Source)> {
    Ok(match from {
        From::Server {
            address,
            secret,
            runs,
        } => {
            let source =
                Source::spawn(move |sink| source::server::follow(sink, address, secret, &runs))?;
            (address.to_string(), source)
        }
        From::File(path) => {
            let found = match source::file::find(&path) {
                Ok(found) => found,
                Err(why) => bail!("{why}"),
            };
            let source = Source::spawn(move |sink| source::file::replay(sink, found))?;
            ("file".to_owned(), source)
        }
        From::Demo => ("demo".to_owned(), Source::spawn(source::demo::play)?),
    })
}
