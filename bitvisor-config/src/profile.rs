//! Profiles: what a lab wants of a BitVisor tree, in TOML.

use crate::dotconfig::Value;
use crate::initialiser::Setting;
use std::collections::BTreeMap;

/// A switch or a text for `.config`.
#[derive(Clone, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(untagged)]
enum Wanted {
    Bool(bool),
    Int(i64),
    Text(String),
}

#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    description: String,
    #[serde(default)]
    inherits: Option<String>,
    #[serde(default)]
    kconfig: BTreeMap<String, Wanted>,
    #[serde(default)]
    runtime: BTreeMap<String, Setting>,
}

/// A profile with what it inherits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Profile {
    /// Name.
    pub name: String,
    /// A sentence.
    pub description: String,
    /// Build options.
    pub kconfig: BTreeMap<String, Value>,
    /// Runtime settings by path.
    pub runtime: BTreeMap<String, Setting>,
}

/// Profiles that come with the program: name and text.
const BUILT_IN: [(&str, &str); 7] = [
    ("lab", include_str!("../profiles/lab.toml")),
    ("quiet", include_str!("../profiles/quiet.toml")),
    ("syslog", include_str!("../profiles/syslog.toml")),
    ("pro1000", include_str!("../profiles/pro1000.toml")),
    ("re", include_str!("../profiles/re.toml")),
    ("bnx", include_str!("../profiles/bnx.toml")),
    ("aq", include_str!("../profiles/aq.toml")),
];

/// Why a profile cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// No such name.
    #[error("no profile is called `{0}`; there are {names}, or give a path that ends in .toml", names = names().join(", "))]
    Unknown(String),
    /// The TOML is wrong.
    #[error("profile {name}: {source}")]
    Toml {
        /// Name.
        name: String,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
}

/// Names of the built-in profiles.
pub fn names() -> Vec<&'static str> {
    BUILT_IN.iter().map(|(name, _)| *name).collect()
}

impl Profile {
    /// A built-in profile.
    ///
    /// # Errors
    /// [`ProfileError::Unknown`].
    pub fn built_in(name: &str) -> Result<Self, ProfileError> {
        let text = BUILT_IN
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, text)| *text);
        Self::parse(
            name,
            text.ok_or_else(|| ProfileError::Unknown(name.to_owned()))?,
        )
    }

    /// Parses a profile; `inherits` names a built-in one.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn parse(name: &str, text: &str) -> Result<Self, ProfileError> {
        let file: File = toml::from_str(text).map_err(|source| ProfileError::Toml {
            name: name.to_owned(),
            source: Box::new(source),
        })?;
        let mut profile = match file.inherits.filter(|parent| parent != name) {
            Some(parent) => Self::built_in(&parent)?,
            None => Self {
                name: String::new(),
                description: String::new(),
                kconfig: BTreeMap::new(),
                runtime: BTreeMap::new(),
            },
        };
        profile.name = file.name;
        profile.description = file.description;
        for (option, wanted) in file.kconfig {
            let value = match wanted {
                Wanted::Bool(on) => Value::Bool(on),
                Wanted::Int(number) => Value::Text(number.to_string()),
                Wanted::Text(text) => Value::Text(text),
            };
            profile.kconfig.insert(option, value);
        }
        profile.runtime.extend(file.runtime);
        Ok(profile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_ones_are_sound() {
        for name in names() {
            let profile = Profile::built_in(name).expect(name);
            assert_eq!(profile.name, name);
            assert!(!profile.description.is_empty());
        }
        let lab = Profile::built_in("lab").expect("exists");
        for option in [
            "64",
            "NET_DRIVER",
            "NET_PRO1000",
            "NET_VIRTIO_NET",
            "DBGSH",
            "LOG_TO_GUEST",
            "STATUS",
            "TTY_SERIAL",
            "BACKTRACE",
            "ACPI_IGNORE_ERROR",
        ] {
            assert_eq!(
                lab.kconfig.get(option),
                Some(&Value::Bool(true)),
                "{option}"
            );
        }
        assert_eq!(
            lab.runtime["vmm.driver.pci"],
            Setting::Text("driver=pro1000, net=pass, virtio=1".to_owned())
        );
        for setting in ["vmm.status", "vmm.dbgsh", "vmm.boot_active"] {
            assert_eq!(lab.runtime[setting], Setting::Int(1));
        }
        let re = Profile::built_in("re").expect("exists");
        assert_eq!(re.kconfig["NET_RE"], Value::Bool(true));
        assert_eq!(re.kconfig["DBGSH"], Value::Bool(true), "inherited");
    }

    #[test]
    fn mistakes_are_named() {
        assert!(
            Profile::built_in("lap")
                .expect_err("no such")
                .to_string()
                .contains("lab, quiet")
        );
        let error = Profile::parse("x", "name = \"x\"\ndescription = \"y\"\ncolour = 1\n")
            .expect_err("unknown key");
        assert!(error.to_string().contains("colour"));
    }
}
