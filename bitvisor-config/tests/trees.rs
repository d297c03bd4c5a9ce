//! Whole trees: a sample of our own, and a real one where `HV_BITVISOR_TREE` or `HV_BITVISOR_ELF` name it.

use bitvisor_config::check::{self, Level};
use bitvisor_config::edit;
use bitvisor_config::profile::Profile;
use std::path::Path;

const KCONFIG: &str = include_str!("samples/Kconfig");
const DEFCONFIG: &str = include_str!("samples/defconfig");

fn tree(config: Option<&str>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("Kconfig"), KCONFIG).expect("written");
    std::fs::write(folder.path().join("defconfig.tmpl"), DEFCONFIG).expect("written");
    if let Some(config) = config {
        std::fs::write(folder.path().join(".config"), config).expect("written");
    }
    folder
}

fn profile(text: &str) -> Profile {
    Profile::parse(
        "test",
        &format!("name = \"t\"\ndescription = \"t\"\n{text}"),
    )
    .expect("sound")
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_default()
}

#[test]
fn a_profile_is_shown_then_written_and_twice_is_once() {
    let folder = tree(Some("# mine\nCONFIG_ACPI=y\n# CONFIG_SERIAL is not set\n"));
    let profile = profile("[kconfig]\nSERIAL = true\nGONE = true\n[runtime]\n\"vmm.status\" = 1\n");
    let first = edit::prepare(folder.path(), &profile).expect("prepared");
    assert_eq!(first.plan.lacking, ["GONE"]);
    assert!(
        first.config.diff().contains("+CONFIG_SERIAL=y"),
        "{}",
        first.config.diff()
    );
    assert!(first.made_from_template);
    assert_eq!(
        read(folder.path(), "defconfig"),
        "",
        "nothing is written before apply"
    );
    let backups = edit::apply(&first).expect("written");
    assert_eq!(backups.len(), 1);
    assert_eq!(
        read(folder.path(), ".config"),
        "# mine\nCONFIG_ACPI=y\nCONFIG_SERIAL=y\n"
    );
    assert!(read(folder.path(), ".config.before-hvlab").contains("SERIAL is not set"));
    assert!(read(folder.path(), "defconfig").contains(".status = 1,"));
    let second = edit::prepare(folder.path(), &profile).expect("prepared");
    assert!(!second.config.changes() && !second.defconfig.changes());
    assert_eq!(edit::apply(&second).expect("nothing to do").len(), 0);
}

#[test]
fn a_conflict_writes_nothing() {
    let folder = tree(Some("# CONFIG_ACPI is not set\n"));
    let edit =
        edit::prepare(folder.path(), &profile("[kconfig]\nACPI_QUIET = true\n")).expect("prepared");
    assert!(
        edit::apply(&edit)
            .expect_err("conflict")
            .to_string()
            .contains("ACPI is off")
    );
    assert_eq!(read(folder.path(), ".config"), "# CONFIG_ACPI is not set\n");
    assert_eq!(read(folder.path(), "defconfig"), "");
}

#[test]
fn strange_places_are_named() {
    let empty = tempfile::tempdir().expect("a folder");
    let error = edit::prepare(empty.path(), &profile("")).expect_err("no tree");
    assert!(
        format!("{error:#}").contains("is") && format!("{error:#}").contains("a BitVisor tree?"),
        "{error:#}"
    );
    assert!(
        check::check(empty.path())
            .expect_err("no tree")
            .to_string()
            .contains("neither")
    );
    let old = tree(Some("CONFIG_64=1\n"));
    assert!(
        edit::prepare(old.path(), &profile(""))
            .expect_err("old")
            .to_string()
            .contains("before Kconfig")
    );
}

/// From before Kconfig: read, checked, never written; what to do by hand is said.
#[test]
fn an_old_tree_is_recognised() {
    let folder = tempfile::tempdir().expect("a folder");
    let makefile = "CONFIG_64 ?= $(support)\nCONFIG_NET_DRIVER ?= 1\nCONFIG_NET_VIRTIO_NET ?= 1\nCONFIG_TTY_SERIAL ?= 0\n";
    std::fs::write(folder.path().join("Makefile.config"), makefile).expect("written");
    std::fs::write(folder.path().join("defconfig.tmpl"), DEFCONFIG).expect("written");
    std::fs::write(folder.path().join(".config"), "CONFIG_TTY_SERIAL=1\n").expect("written");
    let report = check::check(folder.path()).expect("a tree");
    let of = |subject: &str| {
        let finding = report.findings.iter().find(|f| f.subject == subject);
        finding.map(|f| (f.level, f.text.as_str())).expect(subject)
    };
    assert!(of("age").1.contains("before Kconfig"), "{report}");
    assert_eq!(of("CONFIG_64").0, Level::Unknown);
    assert_eq!(of("CONFIG_TTY_SERIAL").0, Level::Good);
    assert_eq!(of("CONFIG_ACPI_IGNORE_ERROR").0, Level::Bad);
    let wanted = profile("[kconfig]\n64 = true\nSTATUS = true\n[runtime]\n\"vmm.status\" = 1\n");
    let error = edit::prepare(folder.path(), &wanted).expect_err("never written");
    for part in [
        "before Kconfig",
        "CONFIG_64=1",
        "no such options yet: STATUS",
        ".vmm.status = 1",
    ] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_sample_tree_is_checked() {
    let folder = tree(None);
    let report = check::check(folder.path()).expect("a tree");
    let of = |subject: &str| {
        report
            .findings
            .iter()
            .find(|f| f.subject == subject)
            .map(|f| f.level)
    };
    assert_eq!(of("CONFIG_64"), Some(Level::Unknown));
    assert_eq!(
        of("CONFIG_NET_VIRTIO_NET"),
        Some(Level::Bad),
        "the sample lacks it"
    );
    assert_eq!(of("CONFIG_DBGSH"), Some(Level::Note));
    assert_eq!(report.worst(), Level::Bad);
}

/// An ELF without symbols and without a Multiboot header: Bad, never a panic, at every cut.
#[test]
fn damaged_elf_files_never_panic() {
    let own = std::fs::read(std::env::current_exe().expect("this test")).expect("readable");
    let report = check::check_elf(&own).expect("an ELF file");
    assert_eq!(report.worst(), Level::Bad, "a test program is no BitVisor");
    for cut in (0..own.len().min(4096)).step_by(61) {
        let _ = check::check_elf(&own[..cut]);
    }
}

#[test]
fn a_real_tree_and_a_real_elf() {
    match std::env::var_os("HV_BITVISOR_TREE") {
        None => println!("NOT RUN: HV_BITVISOR_TREE is not set"),
        Some(tree) => {
            let folder = tempfile::tempdir().expect("a folder");
            for name in ["Kconfig", "defconfig.tmpl"] {
                std::fs::copy(Path::new(&tree).join(name), folder.path().join(name))
                    .expect("copied");
            }
            let edit = edit::prepare(folder.path(), &Profile::built_in("lab").expect("exists"))
                .expect("prepared");
            assert_eq!(edit.plan.conflicts, []);
            edit::apply(&edit).expect("written");
            let report = check::check(folder.path()).expect("a tree");
            assert_ne!(report.worst(), Level::Bad, "{report}");
        }
    }
    match std::env::var_os("HV_BITVISOR_ELF") {
        None => println!("NOT RUN: HV_BITVISOR_ELF is not set"),
        Some(elf) => {
            let report = check::check(Path::new(&elf)).expect("an ELF file");
            assert_ne!(report.worst(), Level::Bad, "{report}");
        }
    }
}
