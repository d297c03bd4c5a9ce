//! A dozen roles instead of colours. Whatever a colour says, a word or a sign says, too.

use ratatui::style::{Color, Modifier, Style};

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Ordinary.
    Text,
    /// Less important.
    Dim,
    /// The program's name, heads of sections.
    Title,
    /// Heads of columns, lines between parts.
    Head,
    /// The tab of this view.
    Tab,
    /// The chosen line.
    Chosen,
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Bad.
    Bad,
    /// A finding or a measurement.
    Info,
    /// A key.
    Key,
    /// What a person types.
    Input,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 12] = [
        Self::Text,
        Self::Dim,
        Self::Title,
        Self::Head,
        Self::Tab,
        Self::Chosen,
        Self::Good,
        Self::Warn,
        Self::Bad,
        Self::Info,
        Self::Key,
        Self::Input,
    ];
}

/// How many colours the terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Depth {
    /// None: bold, dim and reversed only.
    None,
    /// The eight colours of old.
    #[value(name = "8")]
    Eight,
    /// With their bright twins.
    #[value(name = "16")]
    Sixteen,
    /// A palette of 256.
    #[value(name = "256")]
    Palette,
    /// Any colour.
    Rgb,
}

impl Depth {
    /// From the environment: NO_COLOR, COLORTERM and TERM.
    pub fn detect(variable: impl Fn(&str) -> Option<String>) -> Self {
        let term = variable("TERM").unwrap_or_default();
        if variable("NO_COLOR").is_some_and(|value| !value.is_empty())
            || matches!(&*term, "dumb" | "vt100" | "vt220")
        {
            return Self::None;
        }
        let color_term = variable("COLORTERM").unwrap_or_default();
        if matches!(&*color_term, "truecolor" | "24bit") {
            Self::Rgb
        } else if term.contains("256color") {
            Self::Palette
        } else if term.contains("linux") || term.is_empty() {
            Self::Eight
        } else {
            Self::Sixteen
        }
    }
}

/// Signs that differ where there is only ASCII.
#[derive(Debug, PartialEq, Eq)]
pub struct Signs {
    /// For text that was cut.
    pub cut: &'static str,
    /// A horizontal line.
    pub line: &'static str,
    /// Between parts of a line.
    pub dot: &'static str,
    /// Bars of growing height; the first is empty.
    pub levels: &'static [char],
    /// A full bar.
    pub bar: char,
}

const UNICODE: Signs = Signs {
    cut: "…",
    line: "─",
    dot: " · ",
    levels: &[' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
    bar: '█',
};

const ASCII: Signs = Signs {
    cut: "~",
    line: "-",
    dot: " | ",
    levels: &[' ', '.', ':', '-', '=', '+', '*', '#', '#'],
    bar: '#',
};

/// Roles to styles.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    depth: Depth,
    /// The signs to use.
    pub signs: &'static Signs,
}

impl Theme {
    /// For a terminal with so many colours, and with or without letters beyond ASCII.
    pub fn new(depth: Depth, ascii: bool) -> Self {
        Self {
            depth,
            signs: if ascii { &ASCII } else { &UNICODE },
        }
    }

    /// Whether the environment's locale has letters beyond ASCII.
    pub fn detect_ascii(variable: impl Fn(&str) -> Option<String>) -> bool {
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| variable(name).filter(|value| !value.is_empty()));
        let locale = locale.unwrap_or_default().to_lowercase();
        !locale.contains("utf-8") && !locale.contains("utf8")
    }

    /// The style of a role.
    pub fn style(&self, role: Role) -> Style {
        let modifier = match role {
            Role::Text | Role::Good | Role::Info => Modifier::empty(),
            Role::Dim => Modifier::DIM,
            Role::Title | Role::Warn | Role::Key => Modifier::BOLD,
            Role::Head => Modifier::UNDERLINED,
            Role::Tab | Role::Chosen => Modifier::REVERSED,
            Role::Bad => Modifier::BOLD,
            Role::Input => Modifier::UNDERLINED,
        };
        let style = Style::new().add_modifier(modifier);
        match self.color(role) {
            Some(color) => style.fg(color),
            None => style,
        }
    }

    fn color(&self, role: Role) -> Option<Color> {
        // Eight, bright, palette of 256, RGB.
        let (eight, bright, palette, rgb) = match role {
            Role::Text | Role::Dim | Role::Head | Role::Chosen | Role::Input => return None,
            Role::Title | Role::Tab => (Color::Cyan, Color::LightCyan, 80, (0x5f, 0xd7, 0xd7)),
            Role::Good => (Color::Green, Color::LightGreen, 77, (0x5f, 0xd7, 0x5f)),
            Role::Warn => (Color::Yellow, Color::LightYellow, 220, (0xff, 0xd7, 0x00)),
            Role::Bad => (Color::Red, Color::LightRed, 203, (0xff, 0x5f, 0x5f)),
            Role::Info => (Color::Blue, Color::LightBlue, 111, (0x87, 0xaf, 0xff)),
            Role::Key => (Color::Magenta, Color::LightMagenta, 176, (0xd7, 0x87, 0xd7)),
        };
        match self.depth {
            Depth::None => None,
            Depth::Eight => Some(eight),
            Depth::Sixteen => Some(bright),
            Depth::Palette => Some(Color::Indexed(palette)),
            Depth::Rgb => Some(Color::Rgb(rgb.0, rgb.1, rgb.2)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(variables: &[(&str, &str)]) -> Depth {
        Depth::detect(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_says_how_many_colours() {
        assert_eq!(detect(&[("TERM", "xterm-256color")]), Depth::Palette);
        assert_eq!(
            detect(&[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")]),
            Depth::Rgb
        );
        assert_eq!(detect(&[("TERM", "linux")]), Depth::Eight);
        assert_eq!(detect(&[("TERM", "xterm")]), Depth::Sixteen);
        assert_eq!(detect(&[("TERM", "dumb")]), Depth::None);
        assert_eq!(
            detect(&[("TERM", "xterm-256color"), ("NO_COLOR", "1")]),
            Depth::None
        );
    }

    #[test]
    fn each_depth_uses_only_its_own_colours() {
        for role in Role::ALL {
            assert_eq!(
                Theme::new(Depth::None, false).style(role).fg,
                None,
                "{role:?}"
            );
            let rgb = Theme::new(Depth::Rgb, false).style(role).fg;
            assert!(
                rgb.is_none_or(|color| matches!(color, Color::Rgb(..))),
                "{role:?}"
            );
            let palette = Theme::new(Depth::Palette, false).style(role).fg;
            assert!(
                palette.is_none_or(|color| matches!(color, Color::Indexed(..))),
                "{role:?}"
            );
        }
        let ascii = Theme::new(Depth::None, true).signs;
        let text = [ascii.cut, ascii.line, ascii.dot].concat();
        assert!(text.is_ascii() && ascii.levels.iter().all(char::is_ascii) && ascii.bar.is_ascii());
    }
}
