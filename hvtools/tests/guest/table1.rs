//! The C program `table1`: the seed paper's fifteen calls with its prototypes, through the C stubs.

use std::collections::BTreeSet;

use crate::support::hv;

/// The calls, as the checks' names begin.
const CALLS: [&str; 15] = [
    "socket", "bind", "listen", "connect", "accept", "select", "send", "recv", "seek", "read",
    "write", "close", "open", "mkdir", "unlink",
];

#[test]
#[ignore = "boots a machine: cargo hv test"]
fn table1_on_local_files_remote_files_and_sockets() {
    let output = hv(&["shell", "--no-build", "--hypervisor", "none", "--direct"])
        .args(["-c", "table1"])
        .output()
        .expect("hv runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("\n0 failures"), "{text}");
    assert!(!text.contains("SKIP"), "{text}");
    let passed = text
        .lines()
        .filter_map(|line| line.trim_end().strip_prefix("PASS "));
    // "PASS place call and more"
    let words = passed.filter_map(|line| {
        let mut words = line.split(' ');
        Some((words.next()?, words.next()?))
    });
    let checked: BTreeSet<(&str, &str)> = words.collect();
    for call in CALLS {
        assert!(
            checked.iter().any(|(_, what)| *what == call),
            "no check of {call}:\n{text}"
        );
    }
    for place in ["local", "remote", "socket", "client"] {
        assert!(
            checked.iter().any(|(where_, _)| *where_ == place),
            "nothing checked on {place}:\n{text}"
        );
    }
}
