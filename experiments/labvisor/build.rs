//! Hands the link script to the linker, and turns `defects.toml` into the enums of `defects`.

use std::fmt::Write as _;
use std::{env, fs, path::Path};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    defect: Vec<Planted>,
    quirk: Vec<Planted>,
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
    let generated = enumeration("Defect", "A planted defect.", &file.defect)
        + &enumeration("Quirk", "A trap of BitVisor's, reproduced.", &file.quirk);
    let out = Path::new(&env::var("OUT_DIR").expect("cargo sets it")).join("planted.rs");
    fs::write(out, generated).expect("writing planted.rs");
}

fn enumeration(name: &str, doc: &str, list: &[Planted]) -> String {
    let mut text =
        format!("/// {doc}\n#[derive(Clone, Copy, Debug, PartialEq, Eq)]\npub enum {name} {{\n");
    for planted in list {
        let _ = writeln!(text, "    /// {}: {}", planted.group, planted.title);
        let _ = writeln!(text, "    {},", camel(&planted.id));
    }
    let _ = writeln!(text, "}}\nimpl {name} {{");
    let _ = writeln!(
        text,
        "    /// All of them, with their ids, in the table's order.\n    pub const ALL: &[({name}, &str)] = &["
    );
    for planted in list {
        let _ = writeln!(
            text,
            "        ({name}::{}, {:?}),",
            camel(&planted.id),
            planted.id
        );
    }
    text + "    ];\n}\n"
}

fn camel(id: &str) -> String {
    id.split('-')
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect()
}
