//! The guest's settings: `key=value` words in QEMU's fw_cfg item `opt/hvlab/cmdline`.

use std::fmt;

/// Settings of one boot. They hold the server's token, so they go to QEMU in a file that only we can read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    words: Vec<(String, String)>,
}

impl Settings {
    /// Sets `key` to `value`, in which blanks become commas (a word of the settings cannot hold a blank).
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Settings {
        self.words.retain(|(old, _)| old != key);
        self.words.push((
            key.to_owned(),
            value.trim().replace(char::is_whitespace, ","),
        ));
        self
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.words
            .iter()
            .find(|(word, _)| word == key)
            .map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (key, value)) in self.words.iter().enumerate() {
            write!(f, "{}{key}={value}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_joined_by_blanks_and_hold_none() {
        let settings = Settings::default()
            .with("start", "cat /a b")
            .with("ip", "dhcp");
        assert_eq!(settings.to_string(), "start=cat,/a,b ip=dhcp");
    }

    #[test]
    fn the_last_value_of_a_key_counts() {
        let settings = Settings::default()
            .with("ip", "dhcp")
            .with("ip", "10.0.0.1/8");
        assert_eq!(settings.to_string(), "ip=10.0.0.1/8");
        assert_eq!(settings.get("ip"), Some("10.0.0.1/8"));
    }
}
