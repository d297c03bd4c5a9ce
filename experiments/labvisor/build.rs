//! Hands the link script to the linker, and turns `defects.toml` into the enums of `defects`.

use std::fmt::Write as _;
use std::{env, fs, path::Path};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    defect: Vec<Planted>,
    quirk: Vec<Planted>,
    trap: Vec<Trap>,
}

/// A quirk that no experiment sees.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Trap {
    id: String,
    group: String,
    title: String,
    #[serde(rename = "real")]
    _real: String,
    #[serde(rename = "test")]
    _test: String,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Planted {
    id: String,
    group: String,
    title: String,
    #[serde(rename = "real")]
    _real: String,
    #[serde(default, rename = "advisory")]
    _advisory: String,
    #[serde(rename = "caught_by")]
    _caught_by: Vec<String>,
    #[serde(rename = "verdict")]
    _verdict: String,
    #[serde(default, rename = "contains")]
    _contains: String,
}

/// Id, group and title.
type Entry<'a> = (&'a str, &'a str, &'a str);

impl Planted {
    fn entry(&self) -> Entry<'_> {
        (&self.id, &self.group, &self.title)
    }
}

fn main() {
    let here = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo:rustc-link-arg-bins=-T{here}/link.ld");
        println!("cargo:rerun-if-changed=link.ld");
    }
    println!("cargo:rerun-if-changed=defects.toml");
    println!("cargo:rerun-if-changed=build.rs");
    let text = fs::read_to_string(Path::new(&here).join("defects.toml")).expect("defects.toml");
    let file: File = toml::from_str(&text).expect("defects.toml");
    let defects: Vec<Entry> = file.defect.iter().map(Planted::entry).collect();
    let quirks = file.quirk.iter().map(Planted::entry);
    let traps = file.trap.iter().map(|t| (&*t.id, &*t.group, &*t.title));
    let quirks: Vec<Entry> = quirks.chain(traps).collect();
    let generated = enumeration("Defect", "A planted defect.", &defects)
        + &enumeration("Quirk", "A trap of BitVisor's, reproduced.", &quirks);
    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("planted.rs");
    fs::write(out, generated).expect("writing planted.rs");
}

fn enumeration(name: &str, doc: &str, list: &[Entry]) -> String {
    let mut text =
        format!("/// {doc}\n#[derive(Clone, Copy, Debug, PartialEq, Eq)]\npub enum {name} {{\n");
    for (id, group, title) in list {
        let _ = writeln!(text, "    /// {group}: {title}");
        let _ = writeln!(text, "    {},", camel(id));
    }
    let _ = writeln!(text, "}}\nimpl {name} {{");
    let _ = writeln!(
        text,
        "    /// All of them, with their ids, in the table's order.\n    pub const ALL: &[({name}, &str)] = &["
    );
    for (id, ..) in list {
        let _ = writeln!(text, "        ({name}::{}, {id:?}),", camel(id));
    }
    text + "    ];\n}\n"
}

fn camel(id: &str) -> String {
    id.split('-')
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect()
}
