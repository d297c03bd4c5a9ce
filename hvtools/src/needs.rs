//! What `hv` needs from the machine it runs on, and how to get it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// The target that the guest is built for.
pub const GUEST_TARGET: &str = "x86_64-unknown-none";
/// Where Debian's grub-pc-bin puts GRUB for legacy BIOS.
pub const GRUB_FOLDER: &str = "/usr/lib/grub/i386-pc";

/// Where Debian's grub-efi-amd64-bin puts GRUB for UEFI.
pub const GRUB_EFI_FOLDER: &str = "/usr/lib/grub/x86_64-efi";

/// How to get something that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    Debian(&'static str),
    RustTarget,
}

/// One thing that must be there.
#[derive(Clone, Debug)]
pub struct Need {
    /// What it is, as a person would look for it.
    pub what: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Where it was found.
    pub found: Option<String>,
    remedy: Remedy,
}

/// Whether missing things may be installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consent {
    /// `--yes`: install, by sudo where we are not root.
    Given,
    /// Install only if we are root already.
    IfRoot,
    /// `--no-install`: name the command only.
    Refused,
}

/// Looks for everything that building and running needs.
#[must_use]
pub fn survey(workspace: &Workspace) -> Vec<Need> {
    let file = |path: &Path| path.is_file().then(|| path.display().to_string());
    vec![
        Need {
            what: "qemu-system-x86_64",
            purpose: "runs the guest",
            found: program("qemu-system-x86_64"),
            remedy: Remedy::Debian("qemu-system-x86"),
        },
        Need {
            what: "grub-mkimage",
            purpose: "makes the boot disk",
            found: program("grub-mkimage"),
            remedy: Remedy::Debian("grub-common"),
        },
        Need {
            what: "GRUB for legacy BIOS",
            purpose: "boots the guest",
            found: file(&Path::new(GRUB_FOLDER).join("boot.img")),
            remedy: Remedy::Debian("grub-pc-bin"),
        },
        Need {
            what: "setpriv",
            purpose: "ends QEMU and the server when hv dies",
            found: program("setpriv"),
            remedy: Remedy::Debian("util-linux"),
        },
        Need {
            what: "gcc",
            purpose: "compiles the guest's C programs",
            found: program("gcc"),
            remedy: Remedy::Debian("gcc"),
        },
        Need {
            what: "make",
            purpose: "builds the guest's C programs",
            found: program("make"),
            remedy: Remedy::Debian("make"),
        },
        Need {
            what: "Rust target x86_64-unknown-none",
            purpose: "compiles the guest",
            found: guest_target(workspace),
            remedy: Remedy::RustTarget,
        },
    ]
}

/// Makes sure that everything is there, installing what is missing where that is allowed.
///
/// # Errors
/// Names the one command that installs the rest.
pub fn ensure(workspace: &Workspace, consent: Consent) -> Result<()> {
    provide(consent, || survey(workspace))
}

/// As [`ensure`], for a medium that UEFI firmware starts.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_uefi(workspace: &Workspace, consent: Consent) -> Result<()> {
    provide(consent, || {
        let mut needs = survey(workspace);
        needs.push(grub_for_uefi());
        needs
    })
}

/// What only `hv bench-snfs` needs.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_diod(consent: Consent) -> Result<()> {
    provide(consent, || {
        let apart = "/usr/sbin/diod";
        let found =
            program("diod").or_else(|| Path::new(apart).is_file().then(|| apart.to_owned()));
        vec![Need {
            what: "diod",
            purpose: "the 9P server to compare with",
            found,
            remedy: Remedy::Debian("diod"),
        }]
    })
}

/// What only `hv fs mount` needs; root mounts by itself.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_mount(consent: Consent) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    provide(consent, || {
        vec![Need {
            what: "fusermount3",
            purpose: "mounts an export without root",
            found: program("fusermount3"),
            remedy: Remedy::Debian("fuse3"),
        }]
    })
}

/// What only a medium for UEFI needs.
#[must_use]
pub fn grub_for_uefi() -> Need {
    let modules = Path::new(GRUB_EFI_FOLDER).join("multiboot2.mod");
    Need {
        what: "GRUB for UEFI",
        purpose: "`hv media --uefi`",
        found: modules.is_file().then(|| modules.display().to_string()),
        remedy: Remedy::Debian("grub-efi-amd64-bin"),
    }
}

fn provide(consent: Consent, survey: impl Fn() -> Vec<Need>) -> Result<()> {
    let missing = missing(&survey());
    if missing.is_empty() {
        return Ok(());
    }
    let what: Vec<&str> = missing.iter().map(|need| need.what).collect();
    eprintln!("hv: missing: {}", what.join(", "));
    let root = rustix::process::geteuid().is_root();
    let may = consent == Consent::Given || (root && consent == Consent::IfRoot);
    if !may {
        bail!(
            "install what is missing with this command (or let `--yes` do it):\n  {}",
            remedy_line(&missing, if root { "" } else { "sudo " })
        );
    }
    for step in steps(&missing, if root { "" } else { "sudo " }) {
        eprintln!("+ {}", step.line);
        let done = Command::new("sh")
            .arg("-c")
            .arg(&step.line)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .status();
        let done = done.with_context(|| format!("cannot run `{}`", step.line))?;
        if !done.success() && step.required {
            bail!("`{}` failed; run it by hand, then try again", step.line);
        }
    }
    let still: Vec<&str> = survey()
        .iter()
        .filter(|need| need.found.is_none())
        .map(|need| need.what)
        .collect();
    if !still.is_empty() {
        bail!("still missing after the installation: {}", still.join(", "));
    }
    Ok(())
}

/// The command that installs everything missing among `needs`, if something is.
#[must_use]
pub fn command_for(needs: &[Need]) -> Option<String> {
    let missing = missing(needs);
    let sudo = if rustix::process::geteuid().is_root() {
        ""
    } else {
        "sudo "
    };
    (!missing.is_empty()).then(|| remedy_line(&missing, sudo))
}

fn missing(needs: &[Need]) -> Vec<Need> {
    needs
        .iter()
        .filter(|need| need.found.is_none())
        .cloned()
        .collect()
}

struct Step {
    line: String,
    required: bool,
}

fn steps(missing: &[Need], sudo: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let packages: Vec<&str> = missing
        .iter()
        .filter_map(|need| match need.remedy {
            Remedy::Debian(package) => Some(package),
            Remedy::RustTarget => None,
        })
        .collect();
    if !packages.is_empty() {
        // One broken third-party source makes `update` fail although Debian's own are fresh.
        steps.push(Step {
            line: format!("{sudo}apt-get update"),
            required: false,
        });
        let line = format!(
            "{sudo}apt-get install --yes --no-install-recommends {}",
            packages.join(" ")
        );
        steps.push(Step {
            line,
            required: true,
        });
    }
    if missing.iter().any(|need| need.remedy == Remedy::RustTarget) {
        steps.push(Step {
            line: format!("rustup target add {GUEST_TARGET}"),
            required: true,
        });
    }
    steps
}

fn remedy_line(missing: &[Need], sudo: &str) -> String {
    let lines: Vec<String> = steps(missing, sudo)
        .into_iter()
        .map(|step| step.line)
        .collect();
    lines.join(" && ")
}

/// The path of a program, looked for as the shell does; `sbin` too, which users often lack.
#[must_use]
pub fn program(name: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders =
        std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .map(|file| file.display().to_string())
}

fn guest_target(workspace: &Workspace) -> Option<String> {
    let output = Command::new("rustc")
        .current_dir(workspace.root())
        .args(["--print", "target-libdir", "--target", GUEST_TARGET])
        .output()
        .ok()?;
    let folder = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    std::fs::read_dir(&folder)
        .is_ok_and(|mut entries| entries.next().is_some())
        .then_some(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(remedy: Remedy) -> Need {
        Need {
            what: "x",
            purpose: "y",
            found: None,
            remedy,
        }
    }

    #[test]
    fn one_command_installs_everything() {
        let missing = [
            need(Remedy::Debian("qemu-system-x86")),
            need(Remedy::RustTarget),
            need(Remedy::Debian("grub-pc-bin")),
        ];
        assert_eq!(
            remedy_line(&missing, "sudo "),
            "sudo apt-get update && sudo apt-get install --yes --no-install-recommends qemu-system-x86 grub-pc-bin \
             && rustup target add x86_64-unknown-none"
        );
    }

    #[test]
    fn nothing_missing_needs_no_command() {
        let found = Need {
            found: Some("here".into()),
            ..need(Remedy::RustTarget)
        };
        assert_eq!(command_for(&[found]), None);
    }
}
