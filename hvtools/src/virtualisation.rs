//! What the machine that we run on offers a hypervisor: the processor's own virtualisation through KVM, or emulation.

use std::path::{Path, PathBuf};

/// The processor's virtualisation, as /proc/cpuinfo names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// AMD.
    Svm,
    /// Intel.
    Vmx,
}

impl Extension {
    fn module(self) -> &'static str {
        match self {
            Extension::Svm => "kvm_amd",
            Extension::Vmx => "kvm_intel",
        }
    }
}

/// /dev/kvm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kvm {
    /// It is not there.
    Absent,
    /// We may not open it.
    Denied,
    /// It opens.
    Opens,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// The processor's flag; none inside most virtual machines.
    pub extension: Option<Extension>,
    /// KVM's door.
    pub kvm: Kvm,
    /// Whether KVM lets a guest be a hypervisor; `None` when its module is not loaded.
    pub nested: Option<bool>,
}

/// Something that was looked at: whether it is as wished, what it is, what was found and what to do.
pub type Line = (bool, &'static str, String);

impl Host {
    /// Looks at the running machine.
    #[must_use]
    pub fn survey() -> Host {
        Host::below(Path::new("/"))
    }

    fn below(root: &Path) -> Host {
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        let extension = extension(&read(root.join("proc/cpuinfo")));
        let kvm = root.join("dev/kvm");
        let opens = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&kvm);
        Host {
            extension,
            kvm: match (kvm.exists(), opens) {
                (false, _) => Kvm::Absent,
                (true, Err(_)) => Kvm::Denied,
                (true, Ok(_)) => Kvm::Opens,
            },
            nested: extension.and_then(|extension| {
                let folder = root.join("sys/module").join(extension.module());
                let text = read(folder.join("parameters/nested"));
                // AMD's module says 1, Intel's Y.
                folder.is_dir().then(|| matches!(text.trim(), "1" | "Y"))
            }),
        }
    }

    /// A hypervisor can run on KVM here.
    #[must_use]
    pub fn nested_kvm(&self) -> bool {
        self.extension.is_some() && self.kvm == Kvm::Opens && self.nested == Some(true)
    }

    /// All that was found, with reasons and remedies.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let (processor, found) = match self.extension {
            Some(Extension::Svm) => (true, "svm (AMD)".to_owned()),
            Some(Extension::Vmx) => (true, "vmx (Intel)".to_owned()),
            None => (
                false,
                "neither svm nor vmx: off in the firmware, or hidden by the virtual machine around us"
                    .to_owned(),
            ),
        };
        let (door, kvm) = match self.kvm {
            Kvm::Opens => (true, "/dev/kvm opens".to_owned()),
            Kvm::Denied => (
                false,
                "no right to open /dev/kvm: `sudo usermod -aG kvm $USER`, then log in again"
                    .to_owned(),
            ),
            Kvm::Absent => (
                false,
                match self.extension {
                    Some(extension) => {
                        format!("no /dev/kvm: `sudo modprobe {}`", extension.module())
                    }
                    None => "no /dev/kvm, as the processor offers nothing for it".to_owned(),
                },
            ),
        };
        let module = self.extension.map_or("kvm", Extension::module);
        let nested = match self.nested {
            Some(true) => format!("{module} lets a guest be a hypervisor"),
            Some(false) => {
                format!("{module} does not let a guest be a hypervisor: load it with nested=1")
            }
            None if self.extension.is_none() => {
                "the processor shows nothing that could be passed on".to_owned()
            }
            None => format!("{module} is not loaded"),
        };
        let conclusion = if self.nested_kvm() {
            "BitVisor runs on KVM (`--accel tcg` forces emulation)"
        } else {
            "BitVisor runs in QEMU's software emulation, with SVM; ticks say nothing about hardware"
        };
        vec![
            (processor, "the processor's virtualisation", found),
            (door, "KVM", kvm),
            (self.nested == Some(true), "nested virtualisation", nested),
            (true, "BitVisor in QEMU", conclusion.to_owned()),
        ]
    }
}

fn extension(cpuinfo: &str) -> Option<Extension> {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"))?;
    flags.split_whitespace().find_map(|flag| match flag {
        "svm" => Some(Extension::Svm),
        "vmx" => Some(Extension::Vmx),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(files: &[(&str, &str)]) -> Host {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        Host::below(root.path())
    }

    const AMD: (&str, &str) = ("proc/cpuinfo", "processor : 0\nflags\t\t: fpu svm npt\n");
    const INTEL: (&str, &str) = ("proc/cpuinfo", "processor : 0\nflags\t\t: fpu vmx\n");
    const KVM: (&str, &str) = ("dev/kvm", "");

    #[test]
    fn kvm_wants_flag_door_and_nesting() {
        assert!(host(&[AMD, KVM, ("sys/module/kvm_amd/parameters/nested", "1\n")]).nested_kvm());
        assert!(
            host(&[
                INTEL,
                KVM,
                ("sys/module/kvm_intel/parameters/nested", "Y\n")
            ])
            .nested_kvm()
        );
        for lacking in [
            vec![],
            vec![AMD, KVM],
            vec![AMD, ("sys/module/kvm_amd/parameters/nested", "1\n")],
            vec![AMD, KVM, ("sys/module/kvm_amd/parameters/nested", "0\n")],
            vec![
                INTEL,
                KVM,
                ("sys/module/kvm_intel/parameters/nested", "N\n"),
            ],
            vec![INTEL, KVM, ("sys/module/kvm_amd/parameters/nested", "1\n")],
        ] {
            assert!(!host(&lacking).nested_kvm(), "{lacking:?}");
        }
    }

    #[test]
    fn each_lack_has_its_remedy() {
        let text = |files: &[(&str, &str)]| {
            let lines = host(files).lines();
            let found: Vec<String> = lines.into_iter().map(|(_, _, found)| found).collect();
            found.join("\n")
        };
        assert!(text(&[]).contains("neither svm nor vmx"));
        assert!(text(&[AMD]).contains("modprobe kvm_amd"));
        let off = [
            INTEL,
            KVM,
            ("sys/module/kvm_intel/parameters/nested", "N\n"),
        ];
        assert!(text(&off).contains("load it with nested=1"));
        // A folder can be no door.
        assert!(text(&[AMD, ("dev/kvm/x", "")]).contains("usermod"));
    }
}
