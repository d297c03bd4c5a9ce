//! Which hypervisor a machine runs, and what the harness knows about each.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The hypervisor under the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hypervisor {
    /// No hypervisor: the control.
    None,
    /// Our reference hypervisor, started by GRUB from the boot disk.
    Labvisor,
    /// A `bitvisor.elf` that the user built.
    BitVisor(PathBuf),
}

impl Hypervisor {
    /// The word that names it in folders, files and tables.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Hypervisor::None => "none",
            Hypervisor::Labvisor => "labvisor",
            Hypervisor::BitVisor(_) => "bitvisor",
        }
    }

    /// Memory that a machine needs by default, in MiB.
    #[must_use]
    pub fn memory_mib(&self) -> u32 {
        match self {
            Hypervisor::None | Hypervisor::Labvisor => 512,
            Hypervisor::BitVisor(_) => 1024,
        }
    }

    /// QEMU's model of the network device that the guest's own network runs on.
    #[must_use]
    pub fn network_model(&self) -> &'static str {
        match self {
            Hypervisor::None | Hypervisor::Labvisor => "virtio-net-pci",
            // BitVisor drives it and shows the guest a virtio-net device of its own.
            Hypervisor::BitVisor(_) => "e1000",
        }
    }
}

impl fmt::Display for Hypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Hypervisor::BitVisor(path) => write!(f, "bitvisor:{}", path.display()),
            other => f.write_str(other.name()),
        }
    }
}

/// Why a `--hypervisor` value was refused.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownHypervisor(String);

impl fmt::Display for UnknownHypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unknown hypervisor `{}`: use labvisor, none or bitvisor:PATH (a bitvisor.elf)",
            self.0.escape_debug()
        )
    }
}

impl std::error::Error for UnknownHypervisor {}

impl FromStr for Hypervisor {
    type Err = UnknownHypervisor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "none" => Ok(Hypervisor::None),
            "labvisor" => Ok(Hypervisor::Labvisor),
            _ => match text.strip_prefix("bitvisor:") {
                Some(path) if !path.is_empty() => Ok(Hypervisor::BitVisor(PathBuf::from(path))),
                _ => Err(UnknownHypervisor(text.to_owned())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_kinds_parse_and_print_back() {
        for text in ["none", "labvisor", "bitvisor:a/b.elf"] {
            assert_eq!(text.parse::<Hypervisor>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_choices() {
        for text in ["", "kvm", "bitvisor", "bitvisor:", "None"] {
            let error = text.parse::<Hypervisor>().unwrap_err().to_string();
            assert!(error.contains("labvisor, none or bitvisor:PATH"), "{error}");
        }
    }
}
