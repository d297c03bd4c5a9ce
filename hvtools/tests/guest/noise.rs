//! The file server in noise mode, and two sides that are not talked down to plain.

use harness::{Hypervisor, MachineConfig, Secret, Server};
use hvtools::access::{self, Access};
use hvtools::build::Freshness;
use hvtools::service;
use protocol::host::Files;
use tempfile::TempDir;

use crate::support::{AtPrompt, SOON, at_prompt, bitvisor, workspace};

/// A server, and its export `runs` with one file.
fn server(access: &Access) -> (Server, TempDir) {
    let workspace = workspace();
    let runs = tempfile::tempdir().unwrap();
    std::fs::write(runs.path().join("from-host"), "the host's words\n").unwrap();
    let catalogue = workspace.path("experiments/catalogue");
    let freshness = Freshness::AsBuilt;
    let server = service::start_at(&workspace, runs.path(), &catalogue, freshness, access);
    (server.unwrap(), runs)
}

fn guest_of(hypervisor: Hypervisor, server: &Server) -> AtPrompt {
    at_prompt(hypervisor, |config: &mut MachineConfig| {
        config.settings = server.settings(config.settings.clone());
    })
}

fn works(hypervisor: Hypervisor) {
    let (server, _runs) = server(&Access::with_noise());
    assert!(matches!(server.secret(), Secret::Key(_)));
    let mut guest = guest_of(hypervisor, &server);
    assert_eq!(
        guest.run("cat server:/runs/from-host"),
        "the host's words\n"
    );
    let home = tempfile::tempdir_in(workspace().path("home")).unwrap();
    let name = home.path().file_name().unwrap().to_string_lossy();
    let path = format!("home/{name}/from-guest");
    let said = guest.run(&format!("echo hi > server:/{path}"));
    let mode = std::fs::metadata(server.secret_file()).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o600
    );
    // The host's client by the same key.
    let options = access::client(server.address(), server.secret()).unwrap();
    let mut files = Files::connect(options).unwrap();
    let mut content = Vec::new();
    files
        .get(&path, &mut content, &mut |_, _| {})
        .unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(content, b"hi\n");
    let on_disk = std::fs::read_to_string(home.path().join("from-guest"));
    assert_eq!(on_disk.unwrap(), "hi\n");
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn noise_remote_files_on_none() {
    works(Hypervisor::None);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn noise_remote_files_on_bitvisor() {
    works(bitvisor());
}

/// Types a command that will wait for its server, and waits for the kernel's word about it.
fn is_told(guest: &mut AtPrompt, command: &str, expected: &str) {
    guest.console.type_line(command).unwrap();
    let said = guest.console.wait_for(expected, SOON);
    said.unwrap_or_else(|silence| panic!("`{command}`: {silence}"));
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn noise_and_plain_do_not_meet() {
    let (plain, _plain_runs) = server(&Access::default());
    let (noise, _noise_runs) = server(&Access::with_noise());
    let (other, _other_runs) = server(&Access::with_noise());
    let at = |server: &Server| {
        format!(
            "{}:/runs/from-host",
            harness::seen_from_guest(server.address())
        )
    };

    // A guest with a token at a server that wants a key.
    let mut guest = guest_of(Hypervisor::None, &plain);
    assert_eq!(
        guest.run("cat server:/runs/from-host"),
        "the host's words\n"
    );
    is_told(
        &mut guest,
        &format!("cat {} &", at(&noise)),
        "a server in noise mode wants key=",
    );
    drop(guest);

    // A guest with a key at a server that only speaks plain, and at one with another key.
    let mut guest = guest_of(Hypervisor::None, &noise);
    is_told(
        &mut guest,
        &format!("cat {} &", at(&plain)),
        "does not speak noise",
    );
    is_told(
        &mut guest,
        &format!("cat {} &", at(&other)),
        "has it our key",
    );
    // All the time its own server works.
    guest
        .console
        .type_line("cat server:/runs/from-host")
        .unwrap();
    guest.console.wait_for("the host's words", SOON).unwrap();
}

/// Without good random numbers there is no noise, and no plain instead; a key with a typing error is no token, either.
#[test]
#[ignore = "boots a machine: cargo hv test"]
fn noise_needs_rdrand_and_a_whole_key() {
    let (noise, _runs) = server(&Access::with_noise());
    let without_rdrand = |config: &mut MachineConfig| {
        config
            .further
            .extend(["-cpu".into(), "EPYC,-rdrand".into()]);
        config.settings = noise.settings(config.settings.clone());
    };
    let broken_key = |config: &mut MachineConfig| {
        let settings = config
            .settings
            .clone()
            .with("key", "00:11")
            .with("token", "c0ffee");
        config.settings = noise.settings(settings);
    };
    type Adjust<'a> = &'a dyn Fn(&mut MachineConfig);
    let cases: [(Adjust<'_>, &str); 2] = [
        (&without_rdrand, "no RDRAND that works"),
        (&broken_key, "key= is no key"),
    ];
    for (adjust, why) in cases {
        let mut guest = at_prompt(Hypervisor::None, adjust);
        let said = guest.run("cat server:/runs/from-host");
        assert!(said.contains("not supported"), "{said}");
        assert!(
            guest.machine.console_text().contains(why),
            "{}",
            guest.machine.console_text()
        );
        assert!(
            !guest.machine.console_text().contains("11: wanted"),
            "the key is shown"
        );
    }
}
