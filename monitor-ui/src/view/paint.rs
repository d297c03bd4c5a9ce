//! Small helpers: text that fits, lists of which only the visible rows are made.

use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use ratatui::{Frame, buffer::Buffer};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::theme::{Role, Theme};

/// Text cut to a width in columns; where something is missing, a sign says so.
pub fn fit(text: &str, width: usize, theme: &Theme) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let sign = theme.signs.cut;
    let room = width.saturating_sub(sign.width());
    let mut used = 0;
    let mut out = String::new();
    for letter in text.chars() {
        used += letter.width().unwrap_or(0);
        if used > room {
            break;
        }
        out.push(letter);
    }
    if width > 0 {
        out.push_str(sign);
    }
    out
}

/// Text of exactly this width.
pub fn pad(text: &str, width: usize, theme: &Theme) -> String {
    let mut out = fit(text, width, theme);
    let missing = width.saturating_sub(out.width());
    out.extend(std::iter::repeat_n(' ', missing));
    out
}

/// The same, at the right end of the width.
pub fn pad_left(text: &str, width: usize, theme: &Theme) -> String {
    let text = fit(text, width, theme);
    let missing = width.saturating_sub(text.width());
    format!("{}{text}", " ".repeat(missing))
}

/// Text in lines of at most this width.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        if used > 0 && used + word.trim_end().width() > width {
            lines.push(String::new());
            used = 0;
        }
        for letter in word.chars() {
            let columns = letter.width().unwrap_or(0);
            if used + columns > width {
                if letter == ' ' {
                    continue;
                }
                lines.push(String::new());
                used = 0;
            }
            used += columns;
            lines.last_mut().expect("never empty").push(letter);
        }
    }
    lines
}

/// A piece of text in a role.
pub fn span(text: impl Into<String>, role: Role, theme: &Theme) -> Span<'static> {
    Span::styled(text.into(), theme.style(role))
}

/// A line in one role.
pub fn line(text: impl Into<String>, role: Role, theme: &Theme) -> Line<'static> {
    Line::from(span(text, role, theme))
}

/// Lines from the top of an area on; what does not fit is not drawn.
pub fn lines(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'_>>) {
    frame.render_widget(Paragraph::new(lines), area);
}

/// A horizontal line with a title.
pub fn rule(title: &str, width: u16, theme: &Theme) -> Line<'static> {
    let sign = theme.signs.line;
    let title = match title {
        "" => String::new(),
        title => format!("{}{sign} {title} ", ""),
    };
    let title = fit(&title, usize::from(width), theme);
    let rest = usize::from(width).saturating_sub(title.width());
    Line::from(vec![
        span(title, Role::Title, theme),
        span(sign.repeat(rest), Role::Dim, theme),
    ])
}

/// The first of `len` lines to draw so that the chosen one is in the middle, where that is possible.
pub fn window(len: usize, chosen: usize, height: usize) -> usize {
    let last_start = len.saturating_sub(height);
    chosen.saturating_sub(height / 2).min(last_start)
}

/// Draws a list's visible rows. The chosen one is marked with a sign and reversed.
pub fn list<'a>(
    frame: &mut Frame<'_>,
    area: Rect,
    theme: &Theme,
    (len, chosen): (usize, Option<usize>),
    rows: impl Iterator<Item = Line<'a>>,
) {
    let height = usize::from(area.height);
    let from = window(len, chosen.unwrap_or(len), height);
    for (index, row) in rows.take(height).enumerate() {
        let area = Rect {
            y: area.y + index as u16,
            height: 1,
            ..area
        };
        let is_chosen = chosen == Some(from + index);
        let sign = if is_chosen { ">" } else { " " };
        let mut line = Line::from(vec![Span::raw(sign)]);
        line.extend(row);
        frame.render_widget(line, area);
        if is_chosen {
            reverse(frame.buffer_mut(), area, theme.style(Role::Chosen));
        }
    }
}

fn reverse(buffer: &mut Buffer, area: Rect, style: Style) {
    buffer.set_style(area, style);
}

/// A number with units of thousands, in at most five letters.
pub fn short(number: u64) -> String {
    const UNITS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let mut unit = 0;
    let mut value = number;
    let mut rest = 0;
    while value >= 1000 && unit < UNITS.len() - 1 {
        rest = value % 1000 / 100;
        value /= 1000;
        unit += 1;
    }
    match (unit, value) {
        (0, value) => value.to_string(),
        (_, value) if value < 100 => format!("{value}.{rest}{}", UNITS[unit]),
        (_, value) => format!("{value}{}", UNITS[unit]),
    }
}

/// Nanoseconds as seconds.
pub fn seconds(ns: i64, digits: usize) -> String {
    format!("{:.digits$}", ns as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme::Depth;

    #[test]
    fn text_fits_in_columns_not_in_letters() {
        let theme = Theme::new(Depth::None, false);
        assert_eq!(fit("abcdef", 6, &theme), "abcdef");
        assert_eq!(fit("abcdefg", 6, &theme), "abcde…");
        assert_eq!(fit("日本語", 5, &theme), "日本…");
        assert_eq!(pad("日", 4, &theme), "日  ");
        assert_eq!(pad_left("7", 3, &theme), "  7");
        assert_eq!(fit("abc", 0, &theme), "");
    }

    #[test]
    fn wrapping_loses_no_letter() {
        let text = "one two three-hundred and-a-word-that-is-far-too-long end";
        for width in 1..30 {
            let lines = wrap(text, width);
            assert!(
                lines.iter().all(|line| line.trim_end().width() <= width),
                "{width}: {lines:?}"
            );
            let letters = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
            assert_eq!(letters(&lines.concat()), letters(text));
        }
    }

    #[test]
    fn windows_hold_the_chosen_line() {
        for len in 0..30 {
            for chosen in 0..len {
                for height in 1..12 {
                    let from = window(len, chosen, height);
                    assert!((from..from + height).contains(&chosen));
                    assert!(
                        from + height <= len || from == 0,
                        "no empty rows while there are lines"
                    );
                }
            }
        }
    }

    #[test]
    fn numbers_stay_short() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1.0k"),
            (12_345, "12.3k"),
            (123_456, "123k"),
            (u64::MAX, "18.4E"),
        ] {
            assert_eq!(short(number), text);
        }
    }
}
