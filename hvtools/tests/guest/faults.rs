//! Bad input and faults: each ends with a clear message, no stray process, and the results so far in the run folder.

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{BOOT, Done, SOON, children, eventually, faulty_catalogue, hv, hv_run, lives};

/// A run of the faulty catalogue on the fastest machine.
fn faulty(arguments: &[&str]) -> Done {
    let mut hv = hv_run(&["--catalogue"]);
    hv.command.arg(faulty_catalogue()).args(arguments);
    hv.finish()
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

fn output(command: &mut std::process::Command) -> (i32, String) {
    let output = command.output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    (output.status.code().unwrap_or(-1), text)
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn an_endless_experiment_is_ended_and_the_rest_goes_on() {
    let done = faulty(&[
        "--hypervisor",
        "none",
        "--only",
        "endless",
        "--only",
        "good",
    ]);
    assert_eq!(done.status, 2, "{}", done.text);
    let (verdict, reason) = done.of("endless");
    assert!(
        verdict == "ERROR" && reason.contains("time limit"),
        "{verdict} {reason}"
    );
    assert_eq!(done.of("good").0, "PASS");
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_reset_a_panic_and_a_hang_are_told_apart_and_the_rest_goes_on() {
    let done = faulty(&[
        "--hypervisor",
        "none",
        "--only",
        "resets",
        "--only",
        "guest-panics",
        "--only",
        "hangs",
        "--only",
        "good",
    ]);
    assert_eq!(done.status, 3, "{}", done.text);
    let (verdict, reason) = done.of("resets");
    assert!(
        verdict == "CRASH" && reason.contains("reset"),
        "{verdict} {reason}"
    );
    let (verdict, reason) = done.of("guest-panics");
    assert!(
        verdict == "CRASH" && reason.contains("the guest panicked: panic: "),
        "{verdict} {reason}"
    );
    let (verdict, reason) = done.of("hangs");
    assert!(
        verdict == "HANG" && reason.contains("no heartbeat"),
        "{verdict} {reason}"
    );
    assert_eq!(done.of("good").0, "PASS");
    // The evidence: where it hung, and the panic's trace records.
    let hung = done
        .run
        .results
        .iter()
        .find(|line| line.id == "hangs")
        .unwrap();
    assert_eq!(
        hung.detail.matches("RIP sample").count(),
        3,
        "{}",
        hung.detail
    );
    let panicked = done
        .run
        .results
        .iter()
        .find(|line| line.id == "guest-panics")
        .unwrap();
    assert!(
        panicked.detail.contains("last trace records"),
        "{}",
        panicked.detail
    );
    assert_eq!(done.run.info.machines, 4);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_hypervisors_panic_is_shown_in_its_own_words() {
    let done = faulty(&[
        "--only",
        "vmm-panics",
        "--labvisor",
        "quirk=hidden-write-panics",
    ]);
    assert_eq!(done.status, 3, "{}", done.text);
    let (verdict, reason) = done.of("vmm-panics");
    assert!(
        verdict == "CRASH" && reason.contains("the hypervisor panicked: labvisor: panic: "),
        "{verdict} {reason}"
    );
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_server_killed_in_the_middle_of_a_run_is_started_again() {
    let mut hv = hv_run(&[
        "--hypervisor",
        "none",
        "--only",
        "exit-cost",
        "--only",
        "svm-hidden",
    ]);
    let child = hv.spawn();
    let server = eventually("the server's start", BOOT, || {
        children(child.id())
            .into_iter()
            .find(|(_, name)| name == "nfs-server")
            .map(|(pid, _)| pid)
    });
    eventually("the first verdict", BOOT, || {
        let verdicts = hv.only_run()?.join("m00/verdicts.hvv");
        std::fs::metadata(verdicts)
            .ok()
            .filter(|meta| meta.len() > 0)
    });
    kill(server, Signal::KILL);
    let output = child.wait_with_output().unwrap();
    let done = hv.read_back(&output);
    assert_eq!(done.status, 0, "{}", done.text);
    assert_eq!(
        (done.run.info.server_restarts, done.run.results.len()),
        (1, 2),
        "{}",
        done.text
    );
    assert!(done.text.contains("was started again"), "{}", done.text);
}

/// Runs until the guest works, sends `signal` to hv, and tells what is left.
fn interrupted_by(signal: Signal) -> (Option<i32>, Option<Done>) {
    let mut hv = hv_run(&[
        "--hypervisor",
        "none",
        "--only",
        "endless",
        "--only",
        "good",
        "--catalogue",
    ]);
    hv.command.arg(faulty_catalogue());
    let child = hv.spawn();
    eventually("the first verdict", BOOT, || {
        let verdicts = hv.only_run()?.join("m00/verdicts.hvv");
        std::fs::metadata(verdicts)
            .ok()
            .filter(|meta| meta.len() > 0)
    });
    let below = children(child.id());
    let names: Vec<&str> = below.iter().map(|(_, name)| name.as_str()).collect();
    assert!(
        names.iter().any(|name| name.starts_with("qemu")) && names.contains(&"nfs-server"),
        "{names:?}"
    );
    kill(child.id(), signal);
    let output = child.wait_with_output().unwrap();
    for (pid, name) in below {
        eventually(&format!("the end of {name}"), SOON, || {
            (!lives(pid)).then_some(())
        });
    }
    let status = output.status.code();
    (status, status.map(|_| hv.read_back(&output)))
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn ctrl_c_ends_a_run_in_order() {
    let (status, done) = interrupted_by(Signal::INT);
    let done = done.unwrap();
    assert_eq!(
        (status, done.run.info.exit_status),
        (Some(130), Some(130)),
        "{}",
        done.text
    );
    assert!(
        done.text.contains("interrupted") && done.text.contains("run folder:"),
        "{}",
        done.text
    );
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_closed_terminal_ends_a_run_in_order() {
    assert_eq!(interrupted_by(Signal::HUP).0, Some(130));
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_killed_hv_leaves_no_process_behind() {
    assert_eq!(interrupted_by(Signal::KILL).0, None);
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn the_runs_time_limit_is_kept() {
    let done = faulty(&[
        "--hypervisor",
        "none",
        "--only",
        "hangs",
        "--only",
        "resets",
        "--time-limit",
        "6",
    ]);
    assert_eq!(done.status, 2, "{}", done.text);
    assert!(
        done.text.contains("time limit was reached"),
        "{}",
        done.text
    );
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_hypervisor_that_does_not_start_is_no_endless_wait() {
    // Not enough memory for it to hide in.
    let done = faulty(&["--only", "good", "--memory", "16"]);
    assert_ne!(done.status, 0, "{}", done.text);
    assert!(
        done.of("good").1.contains("before the first experiment"),
        "{}",
        done.text
    );
}

#[test]
fn an_unknown_hypervisor_is_refused_with_the_choices() {
    let (status, text) = output(&mut hv(&["run", "--hypervisor", "xen"]));
    assert_eq!(status, 4);
    assert!(
        text.contains("unknown hypervisor `xen`: use labvisor, none or bitvisor:PATH"),
        "{text}"
    );
}

#[test]
fn a_bitvisor_that_is_not_there_is_named() {
    let (status, text) = output(
        &mut hv_run(&[
            "--hypervisor",
            "bitvisor:no-such.elf",
            "--disk",
            "Cargo.toml",
        ])
        .command,
    );
    assert_eq!(status, 4);
    assert!(text.contains("no-such.elf"), "{text}");
}

#[test]
fn a_damaged_disk_image_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.img");
    for content in [&b""[..], &[0u8; 4096]] {
        std::fs::write(&disk, content).unwrap();
        let mut command = hv_run(&["--hypervisor", "none", "--disk"]).command;
        let (status, text) = output(command.arg(&disk));
        assert_eq!(status, 4, "{text}");
        assert!(text.contains("is no boot disk"), "{text}");
    }
}

#[test]
fn a_script_error_is_told_by_file_line_and_column_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let good = std::fs::read_to_string(faulty_catalogue().join("good.rhai")).unwrap();
    std::fs::write(folder.path().join("wrong.rhai"), good + "let x = ;\n").unwrap();
    let (status, text) = output(hv_run(&["--catalogue"]).command.arg(folder.path()));
    assert_eq!(status, 4, "{text}");
    assert!(text.contains("wrong.rhai:13:9"), "{text}");
}

#[test]
fn without_qemu_the_one_command_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for program in ["rustc", "cargo", "setpriv", "grub-mkimage", "git"] {
        if let Some(path) = hvtools::needs::program(program) {
            std::os::unix::fs::symlink(path, folder.path().join(program)).unwrap();
        }
    }
    let mut command = hv(&["run", "--no-install", "--no-build"]);
    let (status, text) = output(command.env("PATH", folder.path()));
    assert_eq!(status, 4, "{text}");
    assert!(
        text.contains("missing: qemu-system-x86_64")
            && text.contains("apt-get install")
            && text.contains("qemu-system-x86"),
        "{text}"
    );
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_missing_verdict_is_lost() {
    let done = faulty(&[
        "--hypervisor",
        "none",
        "--only",
        "vanishes",
        "--only",
        "good",
    ]);
    assert_eq!(done.status, 2, "{}", done.text);
    let (verdict, reason) = done.of("vanishes");
    assert!(
        verdict == "LOST" && reason.contains("status 5 and without a verdict"),
        "{verdict} {reason}"
    );
    assert_eq!(done.of("good").0, "PASS");
}

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn a_hypervisor_that_answers_no_more_is_wedged() {
    let done = faulty(&["--only", "wedges", "--labvisor", "defect=lock-left-held"]);
    assert_eq!(done.status, 3, "{}", done.text);
    let (verdict, reason) = done.of("wedges");
    assert!(
        verdict == "WEDGED" && reason.contains("the reference request answered"),
        "{verdict} {reason}"
    );
    let done = faulty(&["--only", "wedges"]);
    assert_eq!(done.of("wedges").0, "PASS", "{}", done.text);
}
