//! Which machine: the options that `hv run`, `shell`, `gdb` and `bench-files` share, and what they ask for.

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use harness::{Accelerator, Hypervisor, MachineConfig, Settings};
use trace_record::Class;

use crate::build::{self, Freshness};
use crate::needs::Consent;
use crate::virtualisation::Host;
use crate::workspace::Workspace;
use crate::{image, network};

/// Which machine.
#[derive(Clone, Debug, Args)]
pub(crate) struct MachineOptions {
    /// labvisor, none, or bitvisor:PATH with the path of a bitvisor.elf.
    #[arg(long, default_value = "labvisor", value_name = "HYPERVISOR")]
    hypervisor: Hypervisor,
    /// CPUs (labvisor and BitVisor on AMD have one).
    #[arg(long, default_value_t = 1)]
    smp: u32,
    /// Memory in MiB [default: 512, with BitVisor 1024].
    #[arg(long, value_name = "MIB")]
    memory: Option<u32>,
    /// What executes it: for BitVisor, auto takes KVM where it has nested virtualisation; everything else is emulated.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    accel: Accel,
    /// A boot disk made elsewhere; by default the guest is built and its disk is made.
    #[arg(long, value_name = "IMAGE")]
    disk: Option<PathBuf>,
    /// Start the kernel itself by QEMU's -kernel instead of GRUB: faster, with `--hypervisor none` only.
    #[arg(long, conflicts_with = "disk")]
    direct: bool,
    /// Take the guest binaries that are there, without asking cargo.
    #[arg(long)]
    no_build: bool,
    /// A further setting of the guest, as in `--set ip=10.0.2.20/24`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_setting)]
    settings: Vec<(String, String)>,
    /// Count instructions instead of time, in emulation: a tick or nanosecond of the guest is one (QEMU's -icount).
    #[arg(long)]
    icount: bool,
    /// Labvisor's command line, as in `--labvisor defect=log-and`.
    #[arg(long, value_name = "WORDS", default_value = "")]
    labvisor: String,
    #[command(flatten)]
    network: network::Options,
    /// Classes of trace records that are on from the start besides the usual ones, as in `--trace packet,virtio`
    /// (`trace` in the guest lists them); `hv shell` then keeps the trace in a run folder.
    #[arg(long, value_name = "CLASSES", value_delimiter = ',', value_parser = parse_class)]
    pub(crate) trace: Vec<Class>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Accel {
    #[default]
    Auto,
    Tcg,
    Kvm,
}

impl Accel {
    /// KVM counts no instructions.
    fn choose(self, hypervisor: &Hypervisor, icount: bool, host: Host) -> Result<Accelerator> {
        match self {
            Accel::Tcg => Ok(Accelerator::Emulation),
            Accel::Kvm if icount => {
                bail!("--icount counts in emulation only: take --accel tcg, or leave --accel out")
            }
            Accel::Kvm if host.nested_kvm() => Ok(Accelerator::Kvm),
            Accel::Kvm => {
                bail!("no KVM with nested virtualisation here: `cargo hv doctor` says why")
            }
            Accel::Auto
                if matches!(hypervisor, Hypervisor::BitVisor(_))
                    && !icount
                    && host.nested_kvm() =>
            {
                eprintln!("hv: BitVisor runs on KVM (`--accel tcg` forces emulation)");
                Ok(Accelerator::Kvm)
            }
            Accel::Auto => Ok(Accelerator::Emulation),
        }
    }
}

impl MachineOptions {
    /// Whether the guest is built first.
    pub(crate) fn freshness(&self) -> Freshness {
        Freshness::of(self.no_build)
    }

    /// The machine asked for, its guest built.
    ///
    /// # Errors
    /// When options contradict each other or this computer, or the guest cannot be built.
    pub(crate) fn config(
        &self,
        workspace: &Workspace,
        consent: Consent,
        logs: PathBuf,
    ) -> Result<MachineConfig> {
        ensure!(
            !self.direct || self.hypervisor == Hypervisor::None,
            "--direct starts the kernel itself, without {} below it: add --hypervisor none",
            self.hypervisor.name()
        );
        let disk = match &self.disk {
            Some(disk) => disk.clone(),
            None => build::boot_disk(workspace, consent, self.freshness())?,
        };
        let mut config = MachineConfig::new(self.hypervisor.clone(), disk, logs);
        if self.direct {
            config.boot = image::direct(workspace);
        }
        config.cpus = self.smp;
        config.icount_shift = self.icount.then_some(0);
        config.accelerator = self
            .accel
            .choose(&self.hypervisor, self.icount, Host::survey())?;
        config.memory_mib = self.memory.unwrap_or(config.memory_mib);
        config.labvisor.clone_from(&self.labvisor);
        config.settings = self
            .settings
            .iter()
            .fold(Settings::default(), |all, (key, value)| {
                all.with(key, value)
            });
        if !self.trace.is_empty() {
            let names: Vec<&str> = self.trace.iter().map(|class| class.name()).collect();
            config.settings = config.settings.with("trace", &names.join(","));
        }
        self.network.apply(&mut config)?;
        Ok(config)
    }
}

/// `KEY=VALUE` of `--set`.
pub(crate) fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("a setting looks like key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn parse_class(text: &str) -> Result<Class, String> {
    Class::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Class::ALL.iter().map(|class| class.name()).collect();
        format!("the classes are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtualisation::{Extension, Kvm};

    #[test]
    fn kvm_is_taken_where_it_can_run_a_hypervisor() {
        let able = Host {
            extension: Some(Extension::Svm),
            kvm: Kvm::Opens,
            nested: Some(true),
        };
        let unable = Host {
            nested: Some(false),
            ..able
        };
        let bitvisor = Hypervisor::BitVisor("x".into());
        let choose = |accel: Accel, on: &Hypervisor, host| accel.choose(on, false, host).ok();
        assert_eq!(choose(Accel::Auto, &bitvisor, able), Some(Accelerator::Kvm));
        assert_eq!(
            choose(Accel::Tcg, &bitvisor, able),
            Some(Accelerator::Emulation)
        );
        assert_eq!(
            choose(Accel::Auto, &bitvisor, unable),
            Some(Accelerator::Emulation)
        );
        assert_eq!(choose(Accel::Kvm, &bitvisor, unable), None);
        // What ours are expected to show was seen in emulation.
        assert_eq!(
            choose(Accel::Auto, &Hypervisor::Labvisor, able),
            Some(Accelerator::Emulation)
        );
    }

    #[test]
    fn instructions_are_counted_in_emulation_only() {
        let able = Host {
            extension: Some(Extension::Svm),
            kvm: Kvm::Opens,
            nested: Some(true),
        };
        let bitvisor = Hypervisor::BitVisor("x".into());
        let choose = |accel: Accel| accel.choose(&bitvisor, true, able);
        for accel in [Accel::Auto, Accel::Tcg] {
            assert_eq!(choose(accel).unwrap(), Accelerator::Emulation);
        }
        let refused = choose(Accel::Kvm).unwrap_err().to_string();
        assert!(refused.contains("--accel tcg"), "{refused}");
    }
}
