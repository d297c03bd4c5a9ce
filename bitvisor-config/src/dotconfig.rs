//! `.config`: one option a line; edits touch no other line.

/// Value of an option as it stands in `.config`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    /// `=y` or `is not set`.
    Bool(bool),
    /// A number or a string, as written behind `=`, quotes removed.
    Text(String),
}

impl Value {
    /// As Kconfig compares it.
    pub fn text(&self) -> String {
        match self {
            Self::Bool(true) => "y".to_owned(),
            Self::Bool(false) => "n".to_owned(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// The text of a `.config`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DotConfig {
    lines: Vec<String>,
}

fn read_line(line: &str) -> Option<(&str, Value)> {
    if let Some(name) = line
        .strip_prefix("# CONFIG_")
        .and_then(|rest| rest.strip_suffix(" is not set"))
    {
        return Some((name, Value::Bool(false)));
    }
    let (name, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
    let value = match value {
        "y" | "m" => Value::Bool(true),
        "n" => Value::Bool(false),
        text => match text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
        {
            Some(quoted) => Value::Text(quoted.replace("\\\"", "\"").replace("\\\\", "\\")),
            None => Value::Text(text.to_owned()),
        },
    };
    Some((name, value))
}

fn write_line(name: &str, value: &Value) -> String {
    match value {
        Value::Bool(true) => format!("CONFIG_{name}=y"),
        Value::Bool(false) => format!("# CONFIG_{name} is not set"),
        Value::Text(text) if text.parse::<i64>().is_ok() || text.starts_with("0x") => {
            format!("CONFIG_{name}={text}")
        }
        Value::Text(text) => {
            format!(
                "CONFIG_{name}=\"{}\"",
                text.replace('\\', "\\\\").replace('"', "\\\"")
            )
        }
    }
}

impl DotConfig {
    /// Takes a text; nothing in it is an error, foreign lines are kept.
    pub fn parse(text: &str) -> Self {
        Self {
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    /// Whether this is the format of trees before Kconfig (`NAME=0`, `NAME=1`).
    pub fn is_old_format(&self) -> bool {
        self.lines.iter().any(|line| {
            line.split_once('=').is_some_and(|(name, value)| {
                matches!(value, "0" | "1") && name.starts_with("CONFIG_") && !name.contains(' ')
            })
        })
    }

    /// The value of an option; of several lines the last one counts, as for Kconfig.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.lines
            .iter()
            .rev()
            .find_map(|line| read_line(line).filter(|(found, _)| *found == name))
            .map(|(_, value)| value)
    }

    /// Options that it has a line for.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .filter_map(|line| read_line(line).map(|(name, _)| name))
    }

    /// Sets an option in its line, or in a new line at the end. Returns whether anything changed.
    pub fn set(&mut self, name: &str, value: &Value) -> bool {
        if self.get(name).as_ref() == Some(value) {
            return false;
        }
        let new = write_line(name, value);
        let place = self
            .lines
            .iter()
            .rposition(|line| read_line(line).is_some_and(|(found, _)| found == name));
        match place {
            Some(place) => self.lines[place] = new,
            None => self.lines.push(new),
        }
        true
    }

    /// The text.
    pub fn text(&self) -> String {
        let mut text = self.lines.join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# head\nCONFIG_A=y\n# CONFIG_B is not set\n\n# menu\nCONFIG_NAME=\"a \\\"b\\\"\"\nCONFIG_N=12\nstray\n";

    #[test]
    fn values_are_read_and_other_lines_stay() {
        let mut config = DotConfig::parse(TEXT);
        assert_eq!(config.get("A"), Some(Value::Bool(true)));
        assert_eq!(config.get("B"), Some(Value::Bool(false)));
        assert_eq!(config.get("NAME"), Some(Value::Text("a \"b\"".to_owned())));
        assert_eq!(config.get("C"), None);
        assert_eq!(config.text(), TEXT);
        assert!(config.set("B", &Value::Bool(true)));
        assert!(config.set("C", &Value::Bool(false)));
        assert!(!config.set("A", &Value::Bool(true)));
        let expected =
            TEXT.replace("# CONFIG_B is not set", "CONFIG_B=y") + "# CONFIG_C is not set\n";
        assert_eq!(config.text(), expected);
        let name = config.get("NAME").expect("still there");
        assert!(!config.set("NAME", &name), "reading and writing agree");
    }

    #[test]
    fn the_old_format_is_recognised() {
        assert!(DotConfig::parse("CONFIG_64=1\nCONFIG_X=0\n").is_old_format());
        assert!(!DotConfig::parse(TEXT).is_old_format());
    }
}
