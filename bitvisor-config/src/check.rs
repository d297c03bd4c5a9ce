//! What a tree, or a finished `bitvisor.elf`, offers a guest.

use crate::before_kconfig::OldOptions;
use crate::dotconfig::DotConfig;
use crate::initialiser::{Initialiser, Setting};
use crate::kconfig::Kconfig;
use crate::plan::effective;
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol};
use std::fmt;
use std::path::Path;

/// First word of a Multiboot (version 1) header.
const MULTIBOOT_MAGIC: u32 = 0x1BAD_B002;
/// The header lies in the first so many bytes of the file (Multiboot specification 0.6.96, 3.1).
const MULTIBOOT_SEARCH: usize = 8192;

/// How a finding is to be taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As HvLab wants it.
    Good,
    /// Works, with less.
    Note,
    /// Cannot be told from here.
    Unknown,
    /// HvLab will not work on it.
    Bad,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Finding {
    /// How to take it.
    pub level: Level,
    /// What was looked at.
    pub subject: String,
    /// What was seen, and what to do if it is not good.
    pub text: String,
}

/// All findings.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Report {
    /// In the order they were made.
    pub findings: Vec<Finding>,
}

impl Report {
    fn add(&mut self, level: Level, subject: &str, text: impl Into<String>) {
        self.findings.push(Finding {
            level,
            subject: subject.to_owned(),
            text: text.into(),
        });
    }

    /// The worst level.
    pub fn worst(&self) -> Level {
        self.findings
            .iter()
            .map(|finding| finding.level)
            .max()
            .unwrap_or(Level::Bad)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let mark = match finding.level {
                Level::Good => "ok  ",
                Level::Note => "note",
                Level::Unknown => "?   ",
                Level::Bad => "BAD ",
            };
            writeln!(
                f,
                "{mark}  {:<24} {}",
                finding.subject,
                printable(&finding.text)
            )?;
        }
        Ok(())
    }
}

/// Control characters escaped; quotes are left alone.
fn printable(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\'' | '\\' => c.to_string(),
        c => c.escape_debug().to_string(),
    };
    text.chars().map(escape).collect()
}

/// Why nothing could be looked at.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// Cannot read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// What.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Neither a tree nor an ELF file.
    #[error(
        "{0} is neither a BitVisor tree (no Kconfig and no Makefile.config in it) nor an ELF file"
    )]
    Neither(String),
    /// A damaged ELF.
    #[error("{path} is no ELF file that can be read: {reason}")]
    Elf {
        /// File.
        path: String,
        /// Why.
        reason: String,
    },
    /// The tree's Kconfig.
    #[error(transparent)]
    Kconfig(#[from] crate::kconfig::ParseError),
    /// The tree's defconfig.
    #[error("defconfig: {0}")]
    Defconfig(#[from] crate::initialiser::InitialiserError),
}

/// Options a guest cares about: name, what it gives, whether HvLab needs it.
const OPTIONS: [(&str, &str, bool); 9] = [
    ("64", "64-bit VMM (a 64-bit guest needs it)", true),
    ("NET_DRIVER", "NIC drivers", true),
    ("NET_VIRTIO_NET", "virtio-net for the guest", true),
    ("TTY_SERIAL", "VMM console on COM1", false),
    ("LOG_TO_GUEST", "hypercall log_set_buf", false),
    ("DBGSH", "hypercall dbgsh", false),
    ("STATUS", "hypercall get_status", false),
    ("BACKTRACE", "backtrace on panic", false),
    (
        "ACPI_IGNORE_ERROR",
        "goes on after ACPI parse errors (QEMU has them)",
        true,
    ),
];

fn read(path: &Path) -> Result<String, CheckError> {
    std::fs::read_to_string(path).map_err(|source| CheckError::Read {
        path: path.display().to_string(),
        source,
    })
}

/// Looks at a tree or an ELF file.
///
/// # Errors
/// [`CheckError`].
pub fn check(path: &Path) -> Result<Report, CheckError> {
    if path.join("Kconfig").is_file() {
        return check_tree(path);
    }
    if let Some(options) = OldOptions::read(path) {
        return check_old_tree(path, &options);
    }
    if path.is_dir() {
        return Err(CheckError::Neither(path.display().to_string()));
    }
    let bytes = std::fs::read(path).map_err(|source| CheckError::Read {
        path: path.display().to_string(),
        source,
    })?;
    if !bytes.starts_with(b"\x7fELF") {
        return Err(CheckError::Neither(path.display().to_string()));
    }
    check_elf(&bytes).map_err(|reason| CheckError::Elf {
        path: path.display().to_string(),
        reason,
    })
}

/// Reads the tree's Kconfig, files it includes from inside the tree only.
///
/// # Errors
/// [`CheckError`].
pub fn read_kconfig(tree: &Path) -> Result<Kconfig, CheckError> {
    let text = read(&tree.join("Kconfig"))?;
    let inside = |path: &str| {
        let relative = Path::new(path);
        let plain = relative
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        if plain {
            std::fs::read_to_string(tree.join(relative)).ok()
        } else {
            None
        }
    };
    Ok(Kconfig::parse(&text, &inside)?)
}

fn check_tree(tree: &Path) -> Result<Report, CheckError> {
    let mut report = Report::default();
    let kconfig = read_kconfig(tree)?;
    let config = match std::fs::read_to_string(tree.join(".config")) {
        Ok(text) => DotConfig::parse(&text),
        Err(_) => {
            report.add(
                Level::Note,
                ".config",
                "not there yet: the defaults are shown; `apply` makes one",
            );
            DotConfig::default()
        }
    };
    if config.is_old_format() {
        report.add(
            Level::Bad,
            ".config",
            "of a tree from before Kconfig: move it away and run the tree's `make config`",
        );
    }
    option_findings(&mut report, |name| {
        kconfig
            .symbol(name)
            .map(|_| effective(&kconfig, &config, name))
    });
    runtime_findings(&mut report, tree)?;
    Ok(report)
}

fn check_old_tree(tree: &Path, options: &OldOptions) -> Result<Report, CheckError> {
    let mut report = Report::default();
    report.add(
        Level::Note,
        "age",
        "from before Kconfig (July 2024): its options are 0 or 1 in Makefile.config and .config; `apply` names the lines, \
         the tree's own `make config` sets them",
    );
    option_findings(&mut report, |name| options.get(name));
    runtime_findings(&mut report, tree)?;
    Ok(report)
}

/// `value` says of an option: `None` absent, `Some(None)` decided by the tree's own make.
fn option_findings(report: &mut Report, value: impl Fn(&str) -> Option<Option<bool>>) {
    for (name, gives, needed) in OPTIONS {
        let subject = format!("CONFIG_{name}");
        let (level, text) = match value(name) {
            None => (
                if needed { Level::Bad } else { Level::Note },
                format!("this tree has no such option: {gives} is missing or always there"),
            ),
            Some(Some(true)) => (Level::Good, gives.to_owned()),
            Some(None) => (
                Level::Unknown,
                format!("{gives}: decided by the tree's `make config`"),
            ),
            Some(Some(false)) if needed => (Level::Bad, format!("off: {gives}")),
            Some(Some(false)) => (Level::Note, format!("off: no {gives}")),
        };
        report.add(level, &subject, text);
    }
}

fn runtime_findings(report: &mut Report, tree: &Path) -> Result<(), CheckError> {
    let (name, text) = match read(&tree.join("defconfig")) {
        Ok(text) => ("defconfig", text),
        Err(_) => ("defconfig.tmpl", read(&tree.join("defconfig.tmpl"))?),
    };
    let runtime = Initialiser::parse(&text)?;
    let driver = runtime.get("vmm.driver.pci").and_then(Setting::from_c);
    match driver {
        Some(Setting::Text(driver)) => driver_findings(report, name, &driver),
        _ => report.add(
            Level::Bad,
            name,
            "has no .vmm.driver.pci: is this a BitVisor tree?",
        ),
    }
    for (path, gives) in [
        ("vmm.status", "get_status answers"),
        ("vmm.dbgsh", "dbgsh answers"),
    ] {
        match runtime.get(path).and_then(Setting::from_c) {
            Some(Setting::Int(0)) | None => report.add(
                Level::Note,
                &format!("{name}: .{path}"),
                format!("0: not {gives}"),
            ),
            Some(_) => report.add(Level::Good, &format!("{name}: .{path}"), gives),
        }
    }
    let active = runtime.get("vmm.boot_active").and_then(Setting::from_c);
    let subject = format!("{name}: .vmm.boot_active");
    match active {
        Some(Setting::Int(1)) => report.add(
            Level::Good,
            &subject,
            "1: boots the active partition, as a medium for a real PC needs it",
        ),
        _ => report.add(
            Level::Note,
            &subject,
            "0: boots the MBR; good in QEMU, not from a medium whose MBR starts BitVisor",
        ),
    }
    Ok(())
}

fn driver_findings(report: &mut Report, place: &str, driver: &str) {
    let subject = format!("{place}: driver");
    let nic = ["pro1000", "re", "bnx", "aq"]
        .iter()
        .any(|nic| driver.contains(&format!("driver={nic}")));
    let virtio = driver
        .split(',')
        .any(|part| part.trim().replace(' ', "") == "virtio=1");
    match (nic, virtio) {
        (true, true) => report.add(Level::Good, &subject, driver),
        (true, false) => report.add(
            Level::Note,
            &subject,
            format!("{driver}: without virtio=1 the guest sees the bare NIC"),
        ),
        (false, _) => report.add(
            Level::Note,
            &subject,
            format!("{driver:?}: no NIC driver, the guest gets the NIC itself"),
        ),
    }
}

/// The `.vmm.driver.pci` string compiled into an ELF: the longest text that begins with `driver=` and
/// names a net mode, inside the data section.
fn compiled_driver(file: &object::File<'_>) -> Option<String> {
    let symbol = file
        .symbols()
        .find(|symbol| symbol.name() == Ok("config"))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let data = section.data().ok()?;
    let start = usize::try_from(symbol.address().checked_sub(section.address())?).ok()?;
    let len = usize::try_from(symbol.size()).ok()?;
    let config = data.get(start..start.checked_add(len)?)?;
    let at = config.windows(7).position(|window| window == b"driver=")?;
    let text = config[at..].split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// Looks at the bytes of an ELF file.
///
/// # Errors
/// A sentence if it is no ELF.
pub fn check_elf(bytes: &[u8]) -> Result<Report, String> {
    let file = object::File::parse(bytes).map_err(|error| error.to_string())?;
    let mut report = Report::default();
    let words = bytes[..bytes.len().min(MULTIBOOT_SEARCH)]
        .as_chunks::<4>()
        .0;
    let header = words
        .windows(3)
        .find(|window| u32::from_le_bytes(window[0]) == MULTIBOOT_MAGIC);
    match header.map(|window| {
        [0, 1, 2]
            .map(|at| u32::from_le_bytes(window[at]))
            .into_iter()
            .fold(0u32, u32::wrapping_add)
    }) {
        Some(0) => report.add(Level::Good, "Multiboot header", "found, checksum fits"),
        Some(_) => report.add(Level::Bad, "Multiboot header", "its checksum does not fit"),
        None => report.add(
            Level::Bad,
            "Multiboot header",
            "none in the first 8 KiB: neither GRUB nor QEMU will start this",
        ),
    }
    let place = file.segments().map(|segment| segment.address()).min();
    report.add(
        Level::Good,
        "load address",
        place.map_or("none".to_owned(), |place| {
            format!("{place:#x}, entry {:#x}", file.entry())
        }),
    );
    let names: Vec<&str> = file
        .symbols()
        .filter_map(|symbol| symbol.name().ok())
        .collect();
    if names.is_empty() {
        report.add(
            Level::Unknown,
            "symbols",
            "stripped: what is built in cannot be told; check the tree instead",
        );
        return Ok(report);
    }
    let has = |part: &str| names.iter().any(|name| name.ends_with(part));
    for (init, gives, needed) in [
        (
            "__initfunc_vmmcall_init",
            "hypercall get_vmmcall_number",
            true,
        ),
        (
            "__initfunc_vmmcall_boot_init",
            "hypercalls boot, loadcfg, loadcfg64",
            false,
        ),
        ("__initfunc_vmmcall_dbgsh_init", "hypercall dbgsh", false),
        (
            "__initfunc_vmmcall_log_init",
            "hypercall log_set_buf",
            false,
        ),
        (
            "__initfunc_vmmcall_status_init",
            "hypercall get_status",
            false,
        ),
        ("virtio_net_init", "virtio-net", true),
        ("__initfunc_serial_init_msg", "VMM console on COM1", false),
    ] {
        match (has(init), needed) {
            (true, _) => report.add(Level::Good, gives, "built in"),
            (false, true) => report.add(
                Level::Bad,
                gives,
                "not built in: apply the profile `lab` to the tree and build again",
            ),
            (false, false) => report.add(Level::Note, gives, "not built in"),
        }
    }
    match compiled_driver(&file) {
        Some(driver) => driver_findings(&mut report, "compiled in", &driver),
        None => report.add(
            Level::Note,
            "compiled in: driver",
            "no NIC driver string: the guest gets the NIC itself",
        ),
    }
    Ok(report)
}
