//! `lipservice signature`: lines in, `signature<TAB>template` out.
//!
//! Purpose: see which lines of a log are the same kind of message, and try `spec/signature.md` by hand.
//! Promises: any bytes are accepted; a line of any length takes bounded memory; a closed pipe ends it quietly.
//! Never: reads OTLP.

use std::io::{self, BufRead, BufWriter, ErrorKind, Read, Write};
use std::process::ExitCode;

use anyhow::Context;

use super::visible::visible;
use crate::data_plane::signature::Signer;
use crate::data_plane::signature::mask::Variable;

/// Bytes of a line that are read; what follows is skipped. As many as a JSON body is read for.
const MAX_LINE_BYTES: u64 = 16_384;

/// Arguments.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print below each template which parts of the line vary, and by which rule.
    #[arg(long)]
    explain: bool,
}

/// Runs it.
///
/// # Errors
/// When standard input cannot be read or standard output cannot be written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match sign_lines(io::stdin().lock(), BufWriter::new(io::stdout().lock()), args.explain) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error).context("reading lines from standard input to print their signatures"),
    }
}

fn sign_lines(mut input: impl BufRead, mut output: impl Write, explain: bool) -> io::Result<()> {
    let mut signer = Signer::default();
    let mut line = Vec::new();
    while read_line(&mut input, &mut line)? {
        let (signature, variables) =
            if explain { signer.explain_text(&line) } else { (signer.sign_text(&line), Vec::new()) };
        write!(output, "{signature}\t")?;
        output.write_all(signer.last_template())?;
        output.write_all(b"\n")?;
        for Variable { rule, bytes } in &variables {
            writeln!(output, "\t{rule}\t{}", printable(bytes))?;
        }
    }
    output.flush()
}

/// Bytes of a log for a terminal: control characters and marks that hide or reorder text as escapes.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if visible(c) == Some(c) { c.to_string() } else { c.escape_default().to_string() }).collect()
}

/// Reads one line without its end, at most [`MAX_LINE_BYTES`] of it; `false` at the end of the input.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = input.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    } else if read as u64 == MAX_LINE_BYTES {
        input.skip_until(b'\n')?;
    }
    Ok(read > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(input: &[u8], explain: bool) -> Vec<u8> {
        let mut output = Vec::new();
        sign_lines(input, &mut output, explain).unwrap();
        output
    }

    #[test]
    fn each_line_gets_its_template_and_any_bytes_survive() {
        let text = print(b"took 12 ms\r\n\nbad \xff byte 7", false);
        let lines: Vec<&[u8]> = text.split(|&b| b == b'\n').collect();
        assert_eq!(lines.len(), 4, "three lines, each ended");
        assert!(lines[0].ends_with(b"\ttook <*>"));
        assert!(lines[1].ends_with(b"\t"));
        assert!(lines[2].ends_with(b"\tbad \xff byte <*>"));
        assert_eq!(lines[0].iter().position(|&b| b == b'\t'), Some(16));
    }

    #[test]
    fn explain_names_the_rule_of_each_variable() {
        let text = print(b"took 12 ms for user ann at='\x1b[1m\xe2\x80\xae'", true);
        let text = String::from_utf8(text).unwrap();
        let (template, rules) = text.split_once('\n').unwrap();
        assert!(template.ends_with("\ttook <*> for user <*> at=<*>"), "{template}");
        assert_eq!(rules, "\tdigits\t12\n\tunit\tms\n\tuser\tann\n\tvalue\t'\\u{1b}[1m\\u{202e}'\n");
    }

    #[test]
    fn a_long_line_is_one_line() {
        let mut input = vec![b'x'; 3 * MAX_LINE_BYTES as usize];
        input.extend_from_slice(b"\nnext");
        let text = print(&input, false);
        assert_eq!(text.iter().filter(|&&b| b == b'\n').count(), 2);
        assert!(text.ends_with(b"\tnext\n"));
    }
}
