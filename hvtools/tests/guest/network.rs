//! The guest's network device, address, and files of the server.

use harness::{Hypervisor, MachineConfig};
use hvtools::build::Freshness;
use hvtools::service;

use crate::support::{at_prompt, bitvisor, workspace};

/// Reads, writes and lists files of the host.
fn works(hypervisor: Hypervisor) {
    let workspace = workspace();
    let runs = tempfile::tempdir().unwrap();
    std::fs::write(runs.path().join("from-host"), "the host's words\n").unwrap();
    let catalogue = workspace.path("experiments/catalogue");
    let server = service::start(&workspace, runs.path(), &catalogue, Freshness::AsBuilt).unwrap();
    let with_server = |config: &mut MachineConfig| {
        config.settings = server.settings(config.settings.clone());
    };
    let mut guest = at_prompt(hypervisor, with_server);
    assert_eq!(
        guest.run("cat server:/runs/from-host"),
        "the host's words\n"
    );
    let home = tempfile::tempdir_in(workspace.path("home")).unwrap();
    let name = home
        .path()
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    let said = guest.run(&format!("echo hi > server:/home/{name}/f"));
    assert_eq!(
        std::fs::read_to_string(home.path().join("f")).unwrap_or_default(),
        "hi\n",
        "{said}"
    );
    let listed = guest.run(&format!("ls server:/home/{name}"));
    assert!(listed.contains(" f"), "{listed}");
    // The catalogue is read-only, and nothing leads out of an export.
    guest.run("echo no > server:/catalogue/new");
    assert!(!catalogue.join("new").exists());
    assert!(
        !guest
            .run("cat server:/runs/../../Cargo.toml")
            .contains("[workspace]")
    );
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn remote_files_on_none() {
    works(Hypervisor::None);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn remote_files_on_labvisor() {
    works(Hypervisor::Labvisor);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn remote_files_on_bitvisor() {
    works(bitvisor());
}
