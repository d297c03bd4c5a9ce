//! A bit of everything: what runs, how it goes, what to look at.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use trace_record::{Class, escape};

use super::experiments::{running_for, verdict_role};
use super::head;
use super::paint::{fit, line, lines, rule, short, span, wrap};
use crate::model::Model;
use crate::model::logs::Origin;
use crate::model::run::Run;
use crate::model::warnings::warnings;
use crate::theme::{Role, Theme};

/// Draws it; what matters most stands first, so a small screen shows that.
pub fn draw(model: &Model, run: &Run, theme: &Theme, frame: &mut Frame<'_>, area: Rect) {
    let width = usize::from(area.width);
    let mut all: Vec<Line<'_>> = wrap(&machine(run), width.saturating_sub(2))
        .into_iter()
        .map(|text| line(format!(" {text}"), Role::Text, theme))
        .collect();
    all.push(experiments(run, theme));
    if let Some(one) = run.experiments.running() {
        let limit = one
            .limit_s
            .map(|limit| format!(" of at most {limit} s"))
            .unwrap_or_default();
        let text = format!(
            " now: {} for {} s{limit}",
            escape(one.id.as_bytes()),
            running_for(one, model.now_ms)
        );
        all.push(line(fit(&text, width, theme), Role::Text, theme));
    }
    all.push(records(model, run, width, theme));
    let found = warnings(run);
    if !found.is_empty() {
        all.push(rule("look at this", area.width, theme));
        for (_, text) in found {
            all.push(line(
                fit(&format!(" ! {text}"), width, theme),
                Role::Bad,
                theme,
            ));
        }
    }
    all.push(rule("records by class", area.width, theme));
    all.extend(classes(run, width, theme));
    if !model.data().notes.is_empty() {
        all.push(rule("hv says", area.width, theme));
        for note in model.data().notes.iter().rev().take(4).rev() {
            all.push(line(
                fit(&format!(" {note}"), width, theme),
                Role::Text,
                theme,
            ));
        }
    }
    let room = usize::from(area.height).saturating_sub(all.len() + 1);
    if room > 0 {
        all.push(rule("newest of the hypervisor's log", area.width, theme));
        let origins = [Origin::Vmm, Origin::VmmTraced];
        let newest: Vec<&str> = run
            .logs
            .of(&origins)
            .rev()
            .take(room)
            .map(|one| one.text.as_str())
            .collect();
        for text in newest.into_iter().rev() {
            all.push(line(
                fit(&format!(" {text}"), width, theme),
                Role::Dim,
                theme,
            ));
        }
    }
    lines(frame, area, all);
}

fn machine(run: &Run) -> String {
    let mut text = head::hypervisor(run);
    if let Some(info) = &run.info {
        if !info.hypervisor_detail.is_empty() {
            text = format!("{text} ({})", escape(info.hypervisor_detail.as_bytes()));
        }
        if let Some(status) = info.exit_status {
            text = format!("{text}, ended with exit status {status}");
        }
        if info.mbr_retries > 0 {
            text = format!("{text}, {} boots tried again", info.mbr_retries);
        }
        if info.server_restarts > 0 {
            text = format!(
                "{text}, server started again {} times",
                info.server_restarts
            );
        }
    }
    if let Some((number, boot)) = run.newest() {
        text = format!("{text}, boot m{number:02}");
        if let Some(header) = &boot.header {
            let (kernel, machine) = (
                escape(header.kernel.as_bytes()),
                escape(header.machine_name.as_bytes()),
            );
            text = format!(
                "{text}, {kernel} on {machine}, TSC {} MHz",
                header.tsc_hz / 1_000_000
            );
        }
    }
    text
}

fn experiments(run: &Run, theme: &Theme) -> Line<'static> {
    let known = run.experiments.list().len() as u64;
    let planned = run.info.as_ref().map_or(0, |info| info.planned).max(known);
    let text = format!(
        " experiments: {} of {planned} done ",
        run.experiments.done()
    );
    let mut line = Line::from(span(text, Role::Text, theme));
    for (verdict, count) in run.experiments.tally() {
        line.push_span(span(
            format!(" {} {count}", verdict.word()),
            verdict_role(verdict),
            theme,
        ));
    }
    line
}

fn records(model: &Model, run: &Run, width: usize, theme: &Theme) -> Line<'static> {
    if run.read_out {
        // They came as fast as the disk gave them.
        let text = format!(" records: {}", short(run.trace.total()));
        return line(text, Role::Text, theme);
    }
    let seconds = if width < 60 { 8 } else { 20 };
    let history = run.rate.history(model.now_ms, seconds);
    let most = history.iter().copied().max().unwrap_or(0).max(1);
    let levels = theme.signs.levels;
    let steps = levels.len() as u64 - 1;
    let bars: String = history
        .iter()
        .map(|count| levels[(count * steps).div_ceil(most) as usize])
        .collect();
    let last = history.last().copied().unwrap_or(0);
    Line::from(vec![
        span(
            format!(
                " records: {}, {}/s [",
                short(run.trace.total()),
                short(last)
            ),
            Role::Text,
            theme,
        ),
        span(bars, Role::Info, theme),
        span(format!("] {seconds} s"), Role::Text, theme),
    ])
}

fn classes(run: &Run, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let seen = Class::ALL
        .iter()
        .filter(|class| run.by_class[**class as usize] > 0);
    let cells: Vec<String> = seen
        .map(|class| {
            format!(
                "{:<11}{:>6}",
                class.name(),
                short(run.by_class[*class as usize])
            )
        })
        .collect();
    if cells.is_empty() {
        return vec![line(" none yet", Role::Dim, theme)];
    }
    let per_row = (width / 20).max(1);
    cells
        .chunks(per_row)
        .map(|row| line(format!(" {}", row.join("   ")), Role::Text, theme))
        .collect()
}
