//! Draws the state of `lipservice top`: on a terminal, or as plain text.
//!
//! Purpose: a pure function from state to cells, so that tests read what people see.
//! Promises: fits any size of terminal; narrow ones lose the signature column first.
//! Never: does input or output, or reads the time.

use std::fmt::Write;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Row, Table, TableState};

use super::model::{Pattern, Screen, Snapshot, Totals, percent};

/// Below this width the signature column is left out.
const WIDE_COLUMNS: u16 = 110;

/// Rows that the head, a table worth reading and the foot take.
const LEAST_TABLE_ROWS: usize = 7;

const HEADINGS: [&str; 9] =
    ["SERVICE", "SEVERITY", "REC/S", "RECORDS", "KEPT", "BYTES", "SHARE", "SIGNATURE", "TEMPLATE"];
const WIDTHS: [usize; 8] = [16, 8, 8, 8, 6, 9, 6, 16];
const SIGNATURE: usize = 7;

/// A count in at most six characters: `999`, `12.3k`, `4.56M`.
pub fn count(number: f64) -> String {
    match number {
        n if n >= 1e12 => format!("{:.1}T", n / 1e12),
        n if n >= 1e9 => format!("{:.2}G", n / 1e9),
        n if n >= 1e6 => format!("{:.2}M", n / 1e6),
        n if n >= 1e4 => format!("{:.1}k", n / 1e3),
        n if n >= 10.0 || n == n.trunc() => format!("{n:.0}"),
        n => format!("{n:.1}"),
    }
}

/// Bytes in decimal units, as they are billed: `999 B`, `12.3 kB`, `4.6 MB`.
pub fn bytes(number: u64) -> String {
    match number as f64 {
        n if n >= 1e12 => format!("{:.1} TB", n / 1e12),
        n if n >= 1e9 => format!("{:.1} GB", n / 1e9),
        n if n >= 1e6 => format!("{:.1} MB", n / 1e6),
        n if n >= 1e3 => format!("{:.1} kB", n / 1e3),
        n => format!("{n:.0} B"),
    }
}

fn share(percent: f64) -> String {
    match percent {
        p if p >= 99.95 => "100%".to_owned(),
        p if p > 0.0 && p < 0.1 => "<0.1%".to_owned(),
        p => format!("{p:.1}%"),
    }
}

fn cells(pattern: &Pattern, all_bytes: u64) -> [String; 9] {
    [
        pattern.service.clone(),
        pattern.severity.clone(),
        count(pattern.records_per_second),
        count(pattern.records as f64),
        share(pattern.kept_percent()),
        bytes(pattern.bytes),
        share(percent(pattern.bytes, all_bytes).unwrap_or(0.0)),
        pattern.id().to_owned(),
        pattern.template.clone(),
    ]
}

/// Received, kept, dropped, refused, and bytes saved.
pub fn totals_text(totals: &Totals) -> String {
    let saved = totals.bytes_in.saturating_sub(totals.bytes_kept);
    format!(
        "in {}   kept {} ({})   dropped {}   refused {}   bytes saved {} ({})",
        count(totals.received as f64),
        count(totals.kept as f64),
        share(percent(totals.kept, totals.received).unwrap_or(100.0)),
        count(totals.dropped as f64),
        count(totals.refused as f64),
        bytes(saved),
        share(percent(saved, totals.bytes_in).unwrap_or(0.0)),
    )
}

fn anomalies(snapshot: &Snapshot) -> Vec<String> {
    snapshot.anomalies.as_ref().map(|anomalies| anomalies.lines()).unwrap_or_default()
}

/// Draws the screen.
pub fn draw(frame: &mut Frame<'_>, screen: &Screen) {
    let anomalies = screen.snapshot.as_ref().map(anomalies).unwrap_or_default();
    // Patterns come first: a low screen shows few anomalies, or none.
    let room = usize::from(frame.area().height).saturating_sub(LEAST_TABLE_ROWS);
    let shown = if room < 2 { 0 } else { anomalies.len().min(room) as u16 };
    let rows = [Constraint::Length(2), Constraint::Length(shown), Constraint::Min(1), Constraint::Length(1)];
    let [header, pane, body, footer] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(heading(screen), header);
    let lines = anomalies.into_iter().enumerate().map(|(row, line)| match row {
        0 => Line::from(line.bold()),
        _ => Line::from(line.magenta()),
    });
    frame.render_widget(ratatui::text::Text::from_iter(lines), pane);
    let wide = body.width >= WIDE_COLUMNS;
    let mut state = TableState::default().with_selected(screen.snapshot.as_ref().map(|_| screen.selected));
    if let Some(snapshot) = &screen.snapshot {
        frame.render_stateful_widget(table(snapshot, wide), body, &mut state);
    } else {
        frame.render_widget(Block::new().title("waiting for the first answer …"), body);
    }
    let order = format!(" sorted by {} ", screen.sort.name());
    let keys = Line::from(vec![order.bold(), Span::raw(" q quit  s sort  p pause  ↑↓ move")]);
    frame.render_widget(keys.style(Style::new().add_modifier(Modifier::DIM)), footer);
}

fn heading(screen: &Screen) -> ratatui::text::Text<'_> {
    let mut first = vec!["lipservice top ".bold(), Span::raw(screen.endpoint.as_str())];
    if let Some(snapshot) = &screen.snapshot {
        first.push(format!("  windows of {} s", count(snapshot.window_seconds)).into());
    }
    if screen.paused {
        first.push("  paused".yellow());
    }
    if let Some(problem) = &screen.problem {
        first.push(format!("  no answer, retrying: {problem}").red());
    }
    let totals = screen.snapshot.as_ref().map(|snapshot| totals_text(&snapshot.totals)).unwrap_or_default();
    vec![Line::from(first), Line::from(totals)].into()
}

fn right_aligned(column: usize) -> bool {
    (2..SIGNATURE).contains(&column)
}

fn table(snapshot: &Snapshot, wide: bool) -> Table<'static> {
    let shown = move |column: &usize| wide || *column != SIGNATURE;
    let all_bytes = snapshot.listed_bytes();
    let row = |texts: [String; 9]| {
        let aligned = texts.into_iter().enumerate().filter(|(column, _)| shown(column)).map(|(column, text)| {
            let line = Line::from(text);
            Cell::from(if right_aligned(column) { line.right_aligned() } else { line })
        });
        Row::new(aligned.collect::<Vec<_>>())
    };
    let rows = snapshot.patterns.iter().map(|pattern| row(cells(pattern, all_bytes)).style(colour(&pattern.severity)));
    let widths = WIDTHS.iter().enumerate().filter(|(column, _)| shown(column));
    let widths = widths.map(|(_, width)| Constraint::Length(*width as u16)).chain([Constraint::Fill(1)]);
    let header = row(HEADINGS.map(str::to_owned)).style(Style::new().add_modifier(Modifier::BOLD));
    Table::new(rows.collect::<Vec<_>>(), widths.collect::<Vec<_>>())
        .header(header)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
}

fn colour(severity: &str) -> Style {
    match severity.to_ascii_lowercase().as_str() {
        "error" | "fatal" => Style::new().fg(Color::Red),
        "warn" => Style::new().fg(Color::Yellow),
        "debug" | "trace" => Style::new().add_modifier(Modifier::DIM),
        _ => Style::new(),
    }
}

/// The table as plain text, one pattern a line, for pipes and `--once`.
pub fn plain(snapshot: &Snapshot) -> String {
    let mut out = totals_text(&snapshot.totals);
    out.push('\n');
    anomalies(snapshot).iter().for_each(|line| out.extend([line.as_str(), "\n"]));
    let all_bytes = snapshot.listed_bytes();
    let rows = snapshot.patterns.iter().map(|pattern| cells(pattern, all_bytes));
    for texts in std::iter::once(HEADINGS.map(str::to_owned)).chain(rows) {
        for (column, text) in texts.iter().enumerate() {
            let width = WIDTHS.get(column).copied().unwrap_or(0);
            // Writing to a string cannot fail.
            let _ = match column {
                column if column == WIDTHS.len() => write!(out, "{text}"),
                column if right_aligned(column) => write!(out, "{text:>width$} "),
                _ => write!(out, "{text:<width$} "),
            };
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::anomalies::Anomalies;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn screen() -> Screen {
        let json = br#"{"window_seconds":10,"totals":{"received":120000,"kept":24000,"dropped":95990,"refused":10,
            "bytes_in":72000000,"bytes_kept":14400000},"patterns":[
            {"service":"checkout-api","severity":"INFO","signature":"00c0ffee00c0ffee","template":"order <*> placed","records":900,
             "bytes":90000,"kept":90,"dropped":810,"records_per_second":90.5},
            {"service":"payments","severity":"ERROR","signature":"1111111111111111","template":"card \u001b[31mrefused","records":3,
             "bytes":10000,"kept":3,"dropped":0,"records_per_second":0.3}]}"#;
        let mut screen = Screen::new("http://127.0.0.1:8888");
        screen.update(Snapshot::parse(json));
        screen
    }

    fn shown(screen: &Screen, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, screen)).unwrap();
        let buffer = terminal.backend().buffer();
        let row = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(row).collect()
    }

    #[test]
    fn a_wide_screen() {
        let want = [
            "lipservice top http://127.0.0.1:8888  windows of 10 s",
            "in 120.0k   kept 24.0k (20.0%)   dropped 96.0k   refused 10   bytes saved 57.6 MB (80.0%)",
            "SERVICE          SEVERITY    REC/S  RECORDS   KEPT     BYTES  SHARE SIGNATURE        TEMPLATE",
            "checkout-api     INFO           90      900  10.0%   90.0 kB  90.0% 00c0ffee00c0ffee order <*> placed",
            "payments         ERROR         0.3        3   100%   10.0 kB  10.0% 1111111111111111 card [31mrefused",
            "",
            " sorted by records  q quit  s sort  p pause  ↑↓ move",
        ];
        assert_eq!(shown(&screen(), 120, 7), want);
    }

    #[test]
    fn a_narrow_screen_leaves_the_signature_out() {
        let lines = shown(&screen(), 84, 6);
        assert_eq!(lines[2], "SERVICE          SEVERITY    REC/S  RECORDS   KEPT     BYTES  SHARE TEMPLATE");
        assert!(lines[3].ends_with("90.0% order <*> placed"), "{}", lines[3]);
    }

    #[test]
    fn states_are_named_and_any_size_draws() {
        let mut screen = screen();
        screen.paused = true;
        screen.update(Err("connection refused".into()));
        let first = &shown(&screen, 120, 6)[0];
        assert!(first.contains("paused") && first.contains("no answer, retrying: connection refused"), "{first}");
        assert!(shown(&Screen::new("x"), 60, 5)[2].contains("waiting"));
        for (width, height) in [(1, 1), (3, 2), (20, 3), (400, 100)] {
            shown(&screen, width, height);
        }
    }

    fn troubled() -> Screen {
        let mut screen = screen();
        let json = br#"{"at_unix_nano":"1000000000000","ongoing_total":7,"ongoing":[
            {"kind":"spike","service":"payments","subject":"card \u001b[31mrefused","score":12.34,"expected":2.0,"seen":9.5,
             "since_unix_nano":"800000000000"},
            {"kind":"silence","service":"checkout-api","subject":"order <*> placed","score":8,"expected":90,"seen":0,
             "since_unix_nano":"990000000000"}]}"#;
        screen.snapshot.as_mut().unwrap().anomalies = Anomalies::parse(json);
        screen
    }

    #[test]
    fn anomalies_stand_above_the_patterns() {
        let want = [
            "7 anomalies go on",
            "score  12.3  for 3m20s   spike          payments         2 → 9.5 a window  card [31mrefused",
            "score   8.0  for 10s     silence        checkout-api     90 → 0 a window  order <*> placed",
        ];
        let lines = shown(&troubled(), 120, 12);
        assert_eq!(lines[2..5], want);
        assert!(lines[5].starts_with("SERVICE") && lines[6].starts_with("checkout-api"), "{lines:?}");
        let text = plain(&troubled().snapshot.unwrap());
        assert_eq!(text.lines().skip(1).take(3).collect::<Vec<_>>(), want);
        // On a low screen patterns come first.
        assert_eq!(shown(&troubled(), 120, 9)[2..4], want[..2]);
        assert!(shown(&troubled(), 120, 8)[2].starts_with("SERVICE"));
        for (width, height) in [(1, 1), (3, 2), (20, 9), (400, 100)] {
            shown(&troubled(), width, height);
        }
    }

    #[test]
    fn the_plain_table_is_the_same_without_a_terminal() {
        let text = plain(&screen().snapshot.unwrap());
        assert!(text.contains("checkout-api     INFO           90      900  10.0%   90.0 kB  90.0% 00c0ffee00c0ffee order <*> placed\n"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (0.25, "0.2"),
            (9.0, "9"),
            (90.5, "90"),
            (9_999.0, "9999"),
            (12_345.0, "12.3k"),
            (4.56e6, "4.56M"),
            (7.0e12, "7.0T"),
        ] {
            assert_eq!(count(number), text);
        }
        for (number, text) in [(0, "0 B"), (999, "999 B"), (12_345, "12.3 kB"), (2_000_000_000, "2.0 GB")] {
            assert_eq!(bytes(number), text);
        }
        for (percent, text) in [(0.0, "0.0%"), (0.05, "<0.1%"), (12.34, "12.3%"), (99.99, "100%")] {
            assert_eq!(share(percent), text);
        }
    }
}
