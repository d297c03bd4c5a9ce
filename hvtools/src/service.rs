//! The file server of `hv run` and `hv shell`, and the note that lets a second terminal find it.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use harness::{Export, Secret, Server, ServerConfig};
use serde_json::json;
use trace_record::run::export;

use crate::access::Access;
use crate::build::Freshness;
use crate::workspace::Workspace;

/// Builds nfs-server and starts it on loopback with the design's four exports.
///
/// # Errors
/// When it does not compile or does not start.
pub fn start(
    workspace: &Workspace,
    runs: &Path,
    catalogue: &Path,
    freshness: Freshness,
) -> Result<Server> {
    start_at(workspace, runs, catalogue, freshness, &Access::default())
}

/// As [`start`], where and how the user wants it.
///
/// # Errors
/// As [`start`], and [`Access::check`].
pub fn start_at(
    workspace: &Workspace,
    runs: &Path,
    catalogue: &Path,
    freshness: Freshness,
    access: &Access,
) -> Result<Server> {
    access.check()?;
    let program = build_if_needed(workspace, freshness)?;
    let folder = |name: &'static str, folder: PathBuf, access| Export {
        name,
        folder,
        access,
    };
    let own = workspace.path("target/hv");
    std::fs::create_dir_all(&own).with_context(|| format!("cannot create {}", own.display()))?;
    std::fs::create_dir_all(runs).with_context(|| format!("cannot create {}", runs.display()))?;
    Server::start(ServerConfig {
        listen: access.listen(),
        mode: access.mode(),
        program,
        exports: vec![
            folder(export::CATALOGUE, catalogue.to_owned(), "ro"),
            folder(export::BIN, workspace.image("bin"), "ro"),
            folder(export::RUNS, runs.to_owned(), "append"),
            folder(export::HOME, workspace.path("home"), "rw"),
        ],
        log: own.join("server.log"),
    })
}

/// The server's program, built if it is not there or may be stale.
///
/// # Errors
/// When it does not compile.
pub fn build_if_needed(workspace: &Workspace, freshness: Freshness) -> Result<PathBuf> {
    let program = workspace.path("target/debug/nfs-server");
    if freshness == Freshness::Build || !program.is_file() {
        build(workspace)?;
    }
    Ok(program)
}

fn build(workspace: &Workspace) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args([
        "build",
        "--quiet",
        "--package",
        "nfs-server",
        "--bin",
        "nfs-server",
    ]);
    if !cargo.status().context("cannot run cargo")?.success() {
        bail!("nfs-server does not compile (see above)");
    }
    Ok(())
}

/// The note that says where the server of the run in this workspace is: for `hv monitor` and `hv fs` in another
/// terminal. Only we can read it; it goes when the run ends.
#[derive(Debug)]
pub struct Note(PathBuf);

/// What a note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// Where the server listens.
    pub address: SocketAddr,
    /// What a client must know.
    pub secret: Secret,
    /// The run that goes on, if one does.
    pub run: Option<String>,
}

impl Note {
    /// Leaves the note.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn leave(workspace: &Workspace, server: &Server, run: Option<&str>) -> Result<Note> {
        let path = path(workspace);
        let (kind, secret) = match server.secret() {
            Secret::Token(token) => ("token", token),
            Secret::Key(key) => ("key", key),
        };
        let text = json!({ "address": server.address(), kind: secret, "run": run }).to_string();
        let new = path.with_added_extension(std::process::id().to_string());
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new);
        written
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| std::fs::rename(&new, &path))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Note(path))
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        // Absent is as good as removed.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Reads the note.
///
/// # Errors
/// When no run goes on here.
pub fn whereabouts(workspace: &Workspace) -> Result<Whereabouts> {
    let path = path(workspace);
    let text = std::fs::read_to_string(&path)
        .context("no run goes on in this workspace, so there is no server to ask")?;
    parse(&text).with_context(|| format!("{} is damaged", path.display()))
}

fn parse(text: &str) -> Option<Whereabouts> {
    let note: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(Whereabouts {
        address: note["address"].as_str()?.parse().ok()?,
        secret: match (note["key"].as_str(), note["token"].as_str()) {
            (Some(key), _) => Secret::Key(key.to_owned()),
            (None, token) => Secret::Token(token?.to_owned()),
        },
        run: note["run"].as_str().map(str::to_owned),
    })
}

fn path(workspace: &Workspace) -> PathBuf {
    workspace.path("target/hv/server.json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_address_secret_and_run() {
        let found = parse(r#"{"address":"127.0.0.1:7049","token":"aa","run":"x"}"#).unwrap();
        assert_eq!(found.address.port(), 7049);
        assert_eq!(found.secret, Secret::Token("aa".into()));
        assert_eq!(found.run.as_deref(), Some("x"));
        let found = parse(r#"{"address":"127.0.0.1:7049","key":"0:1","run":null}"#).unwrap();
        assert_eq!(found.secret, Secret::Key("0:1".into()));
        assert_eq!(parse("{}"), None);
    }
}
