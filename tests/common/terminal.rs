//! A pseudo-terminal, and a model of what can be seen on it.

use std::fs::File;
use std::process::{Command, Stdio};

use nix::pty::{Winsize, openpty};
use rustix::io::{FdFlags, fcntl_setfd};

/// Opens a pseudo-terminal: the end of the test, and that of the program.
#[track_caller]
pub fn open(columns: u16, lines: u16) -> (File, Stdio) {
    let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let ends = openpty(&size, None).expect("the system has terminals");
    for end in [&ends.master, &ends.slave] {
        // Programs that other tests start at the same time must not inherit it, or it would stay open.
        fcntl_setfd(end, FdFlags::CLOEXEC).expect("a flag can be set");
    }
    (File::from(ends.master), Stdio::from(ends.slave))
}

/// Gives it another size.
#[track_caller]
pub fn resize(terminal: &File, columns: u16, lines: u16) {
    let mut command = Command::new("stty");
    command.args(["cols", &columns.to_string(), "rows", &lines.to_string()]);
    let status = command.stdin(terminal.try_clone().expect("a handle can be copied")).status();
    assert!(status.expect("stty can be run").success());
}

/// What a terminal shows, and the lines that have scrolled off at the top. It knows the control sequences that the
/// program uses, and panics at any other. Characters are one column wide.
#[derive(Debug)]
pub struct Picture {
    width: usize,
    height: usize,
    /// Those that have scrolled off come first.
    rows: Vec<Row>,
    row: usize,
    column: usize,
    /// Whether lines that are too long are cut instead of wrapped.
    cuts: bool,
}

#[derive(Debug, Default)]
struct Row {
    cells: Vec<char>,
    /// The line was too long, and is continued in the next row.
    goes_on: bool,
    /// The line was too long, and was cut.
    is_cut: bool,
}

impl Picture {
    /// What a terminal of this size shows after this text.
    #[track_caller]
    pub fn of(text: &str, width: usize, height: usize) -> Self {
        let mut picture = Self { width, height, rows: vec![Row::default()], row: 0, column: 0, cuts: false };
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            match character {
                '\r' => picture.column = 0,
                '\n' => picture.feed(),
                '\u{1b}' => picture.obey(&mut rest),
                control if control.is_control() => panic!("{control:?} in {text:?}"),
                character => picture.put(character),
            }
        }
        picture
    }

    fn feed(&mut self) {
        self.row += 1;
        if self.row == self.rows.len() {
            self.rows.push(Row::default());
        }
    }

    fn put(&mut self, character: char) {
        if self.column == self.width && self.cuts {
            self.rows[self.row].is_cut = true;
            self.column -= 1;
        } else if self.column == self.width {
            self.rows[self.row].goes_on = true;
            self.feed();
            self.column = 0;
        }
        let cells = &mut self.rows[self.row].cells;
        cells.resize(cells.len().max(self.column + 1), ' ');
        cells[self.column] = character;
        self.column += 1;
    }

    fn obey(&mut self, rest: &mut impl Iterator<Item = char>) {
        // An incomplete control sequence at the end has not been received completely yet.
        let Some(first) = rest.next() else { return };
        assert_eq!(first, '[', "a control sequence");
        let mut number = String::new();
        let command = loop {
            match rest.next() {
                Some(digit) if digit.is_ascii_digit() || [';', '?'].contains(&digit) => number.push(digit),
                Some(command) => break command,
                None => return,
            }
        };
        match (command, number.as_str()) {
            ('m', _) => {}
            ('l' | 'h', "?7") => self.cuts = command == 'l',
            ('K', "") => self.erase(false),
            ('J', "") => self.erase(true),
            ('A', count) => {
                let top = self.rows.len().saturating_sub(self.height);
                self.row = self.row.saturating_sub(count.parse().expect("a number")).max(top);
            }
            other => panic!("{other:?} is not understood"),
        }
    }

    fn erase(&mut self, below: bool) {
        let row = &mut self.rows[self.row];
        row.cells.truncate(self.column);
        (row.goes_on, row.is_cut) = (false, row.is_cut && row.cells.len() == self.width);
        if below {
            self.rows[self.row + 1..].iter_mut().for_each(|row| *row = Row::default());
        }
    }

    /// The visible lines.
    pub fn seen(&self) -> Vec<String> {
        let top = self.rows.len().saturating_sub(self.height);
        self.rows[top..].iter().map(Row::text).collect()
    }

    /// All lines that are not empty, including those that have scrolled off. A wrapped line counts as one.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut begun = String::new();
        for row in &self.rows {
            begun.push_str(&row.text());
            if !row.goes_on {
                lines.push(std::mem::take(&mut begun));
            }
        }
        lines.retain(|line| !line.is_empty());
        lines
    }

    /// The lines that were too long.
    pub fn too_long(&self) -> Vec<String> {
        self.rows.iter().filter(|row| row.goes_on || row.is_cut).map(Row::text).collect()
    }
}

impl Row {
    fn text(&self) -> String {
        let text = self.cells.iter().collect::<String>();
        if self.goes_on { text } else { text.trim_end().to_owned() }
    }
}
