//! The rooms and the arrows between them, as the design draws them: whoever adds a dependency that is not
//! drawn here fails this test, and either takes the dependency back or draws it here and says why.

use std::collections::BTreeMap;
use std::process::Command;

const LEAVES: [&str; 5] = ["abi", "fs-format", "hypercall", "protocol", "trace-record"];

/// What each crate may depend on, of ours. `+` stands for every leaf.
const ALLOWED: [(&str, &[&str]); 17] = [
    ("abi", &[]),
    ("fs-format", &[]),
    ("hypercall", &[]),
    ("protocol", &[]),
    ("trace-record", &[]),
    ("kcore", &["+"]),
    ("kernel", &["+", "kcore"]),
    ("ulib", &["+"]),
    ("engine", &["+"]),
    ("programs", &["+", "ulib", "engine"]),
    // Shares no constant with what it is tested by, or one mistake would be on both sides.
    ("labvisor", &["trace-record"]),
    // Knows bytes, not trace records.
    ("nfs-server", &["protocol"]),
    ("monitor-ui", &["protocol", "trace-record"]),
    ("experiments", &["+", "engine"]),
    ("bitvisor-config", &[]),
    ("harness", &["+"]),
    (
        "hvtools",
        &[
            "+",
            "kcore",
            "engine",
            "nfs-server",
            "monitor-ui",
            "experiments",
            "bitvisor-config",
            "harness",
        ],
    ),
];

/// Our packages and which of ours each depends on, for whatever purpose.
fn arrows() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo speaks JSON");
    let list = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let packages = list(&metadata["packages"]);
    let ours: Vec<String> = packages
        .iter()
        .map(|package| text(&package["name"]))
        .collect();
    let depends_on = |package: &serde_json::Value| {
        let names = list(&package["dependencies"])
            .into_iter()
            .map(|dependency| text(&dependency["name"]));
        names.filter(|name| ours.contains(name)).collect()
    };
    packages
        .iter()
        .map(|package| (text(&package["name"]), depends_on(package)))
        .collect()
}

fn allowed(from: &str, to: &str) -> bool {
    let targets = ALLOWED
        .iter()
        .find(|(name, _)| *name == from)
        .map_or(&[][..], |(_, targets)| targets);
    targets.contains(&to) || (targets.contains(&"+") && LEAVES.contains(&to))
}

#[test]
fn every_arrow_is_drawn() {
    let forbidden: Vec<String> = arrows()
        .iter()
        .flat_map(|(from, targets)| targets.iter().map(move |to| (from.clone(), to.clone())))
        .filter(|(from, to)| !allowed(from, to))
        .map(|(from, to)| format!("{from} -> {to}"))
        .collect();
    assert!(
        forbidden.is_empty(),
        "arrows that the design does not draw: {}",
        forbidden.join(", ")
    );
}

#[test]
fn every_room_is_on_the_map() {
    let rooms: Vec<String> = arrows().into_keys().collect();
    let mut map: Vec<&str> = ALLOWED.iter().map(|(name, _)| *name).collect();
    map.sort_unstable();
    assert_eq!(rooms, map);
}

#[test]
fn nothing_else_lies_at_the_top() {
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let expected = [
        "Cargo.toml",
        "Cargo.lock",
        "LICENSE",
        "README.md",
        "rust-toolchain.toml",
        "guest-kernel",
        "hvtools",
        "experiments",
        "nfs-server",
        "monitor-ui",
        "bitvisor-config",
    ];
    let listed = Command::new("git")
        .current_dir(&top)
        .args(["ls-tree", "--name-only", "HEAD"])
        .output();
    // Outside a git checkout (a source archive) there is nothing to compare.
    let Ok(listed) = listed else { return };
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let strangers: Vec<&str> = listed
        .lines()
        .filter(|name| !name.starts_with('.') && !expected.contains(name))
        .collect();
    assert!(
        strangers.is_empty(),
        "the design has no place for {strangers:?}"
    );
}
