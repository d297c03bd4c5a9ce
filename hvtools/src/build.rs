//! `hv build` and `hv image`: from a clone to a disk that boots.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;

use crate::guest;
use crate::image::{self, Made};
use crate::needs::{self, Consent};
use crate::workspace::Workspace;

/// Which parts to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Let cargo rebuild what changed.
    Build,
    /// Take the binaries that are there.
    AsBuilt,
}

impl Freshness {
    /// What the option `--no-build` asks for.
    #[must_use]
    pub fn of(no_build: bool) -> Freshness {
        match no_build {
            true => Freshness::AsBuilt,
            false => Freshness::Build,
        }
    }
}

/// Checks the needs, builds the guest and makes the boot disk; returns where it is.
///
/// # Errors
/// When something is missing, does not compile or cannot be written.
pub fn boot_disk(workspace: &Workspace, consent: Consent, freshness: Freshness) -> Result<PathBuf> {
    needs::ensure(workspace, consent)?;
    if freshness == Freshness::Build {
        let start = Instant::now();
        eprintln!("hv: building the guest ({})", guest::PACKAGES.join(", "));
        guest::build(workspace, &guest::PACKAGES)?;
        guest::build_c(workspace)?;
        eprintln!("hv: guest ready in {:.1} s", start.elapsed().as_secs_f32());
    }
    let made = image::make(workspace)?;
    match &made {
        Made::New(path) => eprintln!("hv: made the boot disk {}", path.display()),
        Made::Unchanged(path) => eprintln!("hv: the boot disk {} is up to date", path.display()),
    }
    Ok(made.path().to_owned())
}
